"""Agents: resuming bit for bit, acting as trained, bad input."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

from grsn_rl import Agent, evaluate
from grsn_rl.envs import GymVec, make
from grsn_rl.envs.vector import VecEnv
from grsn_rl.runs import read_metrics

SMALL = {"hidden": 8, "embed": 8, "shortcut": 8, "head": 8}
PPO = {"horizon": 16, **SMALL}
DRQN = {"learning_starts": 64, "every": 32, "batch": 4, "length": 8, **SMALL}


def small(algo: str = "ppo", memory: str = "grsn", env: str | VecEnv = "CartPole-P", **more: object) -> Agent:
    count = {"num_envs": 4} if isinstance(env, str) else {}
    return Agent.create(env, algo, memory, 3, **count, **{**(PPO if algo == "ppo" else DRQN), **more})  # type: ignore[arg-type]


def equal(a: object, b: object) -> bool:
    if isinstance(a, dict):
        return isinstance(b, dict) and list(map(str, a)) == list(map(str, b)) and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))  # type: ignore[arg-type]
    if isinstance(a, (torch.Tensor, np.ndarray)):
        return bool(np.array_equal(np.asarray(a), np.asarray(b)))
    return a == b


@pytest.mark.parametrize(
    ("algo", "memory", "more"),
    [
        ("ppo", "grsn", {"anneal_steps": 4000}),
        ("ppo", "lstm", {}),
        ("drqn", "grsn", {"replay_state": "stored", "burn_in": 2}),
        ("drqn", "lif", {}),
    ],
)
def test_train_2n_equals_train_n_save_load_train_n(
    tmp_path: Path, algo: str, memory: str, more: dict[str, object]
) -> None:
    n = 4 * 16 * 6
    whole = small(algo, memory, **more)
    whole.learn(2 * n, progress=False, run=tmp_path / "whole")
    small(algo, memory, **more).learn(n, progress=False, run=tmp_path / "parts")
    resumed = Agent.load(tmp_path / "parts" / "checkpoints" / "last.npz")
    resumed.learn(2 * n, progress=False, run=tmp_path / "parts", total=True)
    assert whole.steps == resumed.steps
    assert equal(whole.algorithm.get_state(), resumed.algorithm.get_state())
    rows = [(tmp_path / run / "metrics.csv").read_text() for run in ("whole", "parts")]
    assert rows[0] == rows[1]
    assert len(rows[0].splitlines()) > 3


def test_evaluations_on_the_way_are_a_column_and_change_nothing(tmp_path: Path) -> None:
    n = 4 * 16 * 6
    plain, watched = small(), small()
    plain.learn(n, progress=False)
    watched.learn(n, progress=False, run=tmp_path, eval_every=130, eval_episodes=4)
    assert equal(plain.algorithm.get_state(), watched.algorithm.get_state())
    rows = read_metrics(tmp_path)
    seen = [row["steps"] for row in rows if row["greedy_return"] == row["greedy_return"]]
    assert seen == [192, 320]  # rollouts of 64 steps: the first ends past 130 and past 260
    again = small()
    again.learn(320, progress=False)
    assert rows[4]["greedy_return"] == evaluate(again, episodes=4).mean
    with pytest.raises(ValueError, match="by an environment's name"):
        small(env=make("CartPole-P", 4)).learn(64, progress=False, eval_every=64)


def test_a_killed_run_resumes_as_if_nothing_had_happened(tmp_path: Path) -> None:
    """Killed between two checkpoints: the rows after the last one are gone over again."""
    whole = small()
    whole.learn(64 * 10, progress=False, run=tmp_path / "whole")
    killed = small()
    killed.learn(64 * 3, progress=False, run=tmp_path / "killed")  # leaves a checkpoint
    iterate, turns = killed.algorithm.iterate, iter(range(2))

    def until_killed() -> dict[str, float]:
        if next(turns, None) is None:
            raise SystemExit("killed")
        return iterate()

    killed.algorithm.iterate = until_killed  # type: ignore[method-assign]
    with pytest.raises(SystemExit):
        killed.learn(64 * 7, progress=False, run=tmp_path / "killed", checkpoint_every=1e9)
    assert len((tmp_path / "killed" / "metrics.csv").read_text().splitlines()) == 1 + 5
    resumed = Agent.load(tmp_path / "killed" / "checkpoints" / "last.npz")
    assert resumed.steps == 64 * 3
    resumed.learn(64 * 10, progress=False, run=tmp_path / "killed", total=True)
    assert equal(whole.algorithm.get_state(), resumed.algorithm.get_state())
    assert (tmp_path / "whole" / "metrics.csv").read_text() == (tmp_path / "killed" / "metrics.csv").read_text()


def test_rows_after_the_checkpoint_are_written_again(tmp_path: Path) -> None:
    agent = small()
    agent.learn(256, progress=False, run=tmp_path)
    text = (tmp_path / "metrics.csv").read_text()
    # killed later: rows lie beyond the checkpoint, the last one cut short
    (tmp_path / "metrics.csv").write_text(text + text.splitlines()[-1].replace("256", "320", 1) + "\n384,1")
    Agent.load(tmp_path / "checkpoints" / "last.npz").learn(0, progress=False, run=tmp_path)
    assert (tmp_path / "metrics.csv").read_text() == text


def test_ctrl_c_leaves_a_checkpoint(tmp_path: Path) -> None:
    agent = small()
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        agent.learn(10**9, progress=False, run=tmp_path, checkpoint_every=1e9)
    assert Agent.load(tmp_path / "checkpoints" / "last.npz").steps == agent.steps > 0


@pytest.mark.parametrize("algo", ["ppo", "drqn"])
@pytest.mark.parametrize("memory", ["grsn", "lif", "gru", "lstm", "none", "grsn-notap"])
def test_every_memory_trains_and_is_evaluated(algo: str, memory: str) -> None:
    agent = small(algo, memory)
    agent.learn(4 * 64, progress=False)
    result = evaluate(agent, episodes=3)
    assert 1 <= result.mean <= 200
    assert result.low <= result.mean <= result.high
    assert result.episodes >= 3
    assert np.isfinite(result.firing_rate) == (memory in ("grsn", "lif", "grsn-notap"))


def test_continuous_actions_and_their_bounds() -> None:
    agent = small(env="Pendulum-V")
    agent.learn(4 * 32, progress=False)
    action, _ = agent.predict(np.zeros((4, 1)), deterministic=False)
    assert action.shape == (4, 1)
    assert np.abs(action).max() <= 1
    with pytest.raises(NotImplementedError, match="discrete"):
        small("drqn", env="Pendulum-V")


def test_acting_equals_the_training_unroll() -> None:
    """Spikes differ only where |h - threshold| < 1e-5 (the gates' products have other batch shapes)."""
    agent = small(hidden=64)
    a = agent.algorithm
    batch, start = a.collect()  # type: ignore[attr-defined]
    steps = len(batch["obs"])
    net = a.net
    with torch.no_grad():
        unrolled, _ = net.remember(batch["obs"], batch["previous"], start, batch["keep"])
        state, rows = start, []
        for t in range(steps):
            out, state = net.remember(
                *(batch[k][t : t + 1] for k in ("obs", "previous")), state, batch["keep"][t : t + 1]
            )
            rows.append(out)
        heads = net.decide(unrolled, batch["obs"])
    assert (batch["keep"] == 0).any()
    assert int((torch.cat(rows) != unrolled).sum()) == 0
    logp = a._log_prob(heads[0], batch["action"])  # type: ignore[attr-defined]
    assert float((logp - batch["logp"]).abs().max()) < 1e-5


def test_predict_has_the_signature_of_stable_baselines() -> None:
    agent = small()
    obs = np.zeros((3, 2), np.float32)
    action, state = agent.predict(obs, state=None, episode_start=np.ones(3, bool), deterministic=True)
    again, _ = agent.predict(obs, state, np.ones(3, bool))
    assert action.shape == (3,)
    assert np.array_equal(action, again)
    one, _ = agent.predict(obs[0])
    assert np.shape(one) == ()


def test_bad_input_is_one_clear_error(tmp_path: Path) -> None:
    agent = small()
    with pytest.raises(ValueError, match="environment 1 is"):
        agent.predict(np.array([[0, 0], [np.nan, 0]]))
    with pytest.raises(ValueError, match="trained on observations of 2 numbers"):
        agent.predict(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="state is of 1 environments"):
        agent.predict(np.zeros((2, 2)), agent.predict(np.zeros((1, 2)))[1])
    path = agent.save(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="pass the environment it was trained in"):
        Agent.load(path, "Pendulum-P")
    (tmp_path / "junk.npz").write_text("no zip")
    with pytest.raises(ValueError, match="is not an agent's checkpoint"):
        Agent.load(tmp_path / "junk.npz")
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        Agent.load(tmp_path / "none.npz")
    with pytest.raises(ValueError, match="no environment is named"):
        Agent.create("CartPoel")
    with pytest.raises(TypeError, match="has no setting 'learning_rate'"):
        Agent.create("CartPole", learning_rate=1)
    with pytest.raises(ValueError, match="minibatch is made of whole"):
        Agent.create("CartPole", num_envs=2)
    with pytest.raises(ValueError, match="memory='gruu' is not known"):
        Agent.create("CartPole", memory="gruu")


class _Odd(gym.Env):  # type: ignore[type-arg]
    def __init__(self, seen: gym.Space, act: gym.Space, bad: int = 10**9) -> None:  # type: ignore[type-arg]
        self.observation_space, self.action_space, self.bad, self.t = seen, act, bad, 0

    def reset(self, *, seed: int | None = None, options: object = None) -> tuple[np.ndarray, dict[str, object]]:
        return np.zeros(2, np.float32), {}

    def step(self, action: object) -> tuple[np.ndarray, float, bool, bool, dict[str, object]]:
        self.t += 1
        return np.full(2, np.nan if self.t > self.bad else 0.0, np.float32), 0.0, False, False, {}


def test_spaces_that_agents_cannot_take() -> None:
    box, two = gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(2)
    with pytest.raises(NotImplementedError, match=r"Dict.*FlattenObservation"):
        GymVec(lambda: _Odd(gym.spaces.Dict({"a": box}), two), 1)
    with pytest.raises(NotImplementedError, match="MultiDiscrete"):
        GymVec(lambda: _Odd(box, gym.spaces.MultiDiscrete([2, 2])), 1)
    with pytest.raises(ValueError, match="finite bounds"):
        GymVec(lambda: _Odd(box, gym.spaces.Box(-np.inf, np.inf, (1,))), 1)


def test_nan_observation_names_the_environment() -> None:
    made = iter([10**9, 10**9, 5, 10**9])
    env = GymVec(lambda: _Odd(gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(2), next(made)), 4, "odd")
    with pytest.raises(ValueError, match=r"environment 2 of 4 \(odd\)"):
        small(env=env).learn(200, progress=False)


def test_evaluation_changes_nothing() -> None:
    agent = small()
    agent.learn(256, progress=False)
    before = agent.algorithm.get_state()
    assert evaluate(agent, episodes=2) == evaluate(agent, episodes=2)
    assert equal(before, agent.algorithm.get_state())
    with pytest.raises(ValueError, match="was trained on"):
        evaluate(agent, make("CartPole", 2))


def test_another_readout_still_counts_spikes_and_pays_for_products() -> None:
    agent = small(memory_options={"readout": "membrane", "gain": 8.0})
    agent.learn(64, progress=False)
    fired = agent.algorithm.fired
    assert fired is not None
    counts = fired * 64  # four environments, sixteen steps
    assert counts.sum() > 0
    assert torch.allclose(counts, counts.round(), atol=1e-4)
    result = evaluate(agent, episodes=4)
    assert 0 < result.firing_rate < 1
    assert agent.algorithm.net.energy(result.firing_rate).parts["readout"] == (64.0, 0.0)
    assert small().algorithm.net.energy(0.5).parts["readout"] == (0.0, 32.0)
