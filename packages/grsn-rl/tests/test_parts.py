"""Environments, replay, energy, statistics, the command line, drop-in code written for a GRU."""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from grsn_rl import GRSN, Agent, SequenceReplay, agent_energy, bootstrap, iqm, memory_energy
from grsn_rl.cli import app
from grsn_rl.envs import (
    CartPoleVec,
    GymVec,
    Partial,
    PartialObservation,
    PendulumVec,
    RepeatPreviousVec,
    make,
)  # fmt: skip
from grsn_rl.ppo import advantages
from grsn_rl.runs import read_metrics


@pytest.mark.parametrize(("ours", "theirs"), [(CartPoleVec, "CartPole-v1"), (PendulumVec, "Pendulum-v1")])
def test_numpy_environments_equal_gymnasium(ours: type, theirs: str) -> None:
    rng = np.random.default_rng(0)
    many = ours(4)
    singles = [gym.make(theirs, max_episode_steps=200) for _ in range(4)]
    many.reset(1)
    for env, state in zip(singles, many.get_state()["state"], strict=True):
        env.reset(seed=0)
        env.unwrapped.state = np.array(state)  # type: ignore[attr-defined]
    alive = np.ones(4, bool)
    for _ in range(60):
        action = rng.integers(0, 2, 4) if many.actions else rng.uniform(-1, 1, (4, 1)).astype(np.float32)
        step = many.step(action)
        for i in np.flatnonzero(alive):
            obs, reward, ended, _, _ = singles[i].step(int(action[i]) if many.actions else 2 * action[i])
            np.testing.assert_allclose(step.final_obs[i], obs, rtol=1e-5, atol=1e-6)
            assert step.reward[i] == pytest.approx(float(reward), rel=1e-5)
            assert step.terminated[i] == ended
            alive[i] = not ended


def test_time_limit_is_truncation_and_resets_in_the_same_step() -> None:
    env = make("Pendulum-P", 2, limit=5)
    env.reset(seed=0)
    steps = [env.step(np.zeros((2, 1))) for _ in range(5)]
    assert not steps[-1].terminated.any()
    assert steps[-1].truncated.all()
    assert not np.array_equal(steps[-1].obs, steps[-1].final_obs)


def test_masks_noise_flicker_delay() -> None:
    full, masked = CartPoleVec(3), make("CartPole-V", 3)
    assert np.array_equal(full.reset(5)[:, [1, 3]], masked.reset(5))
    late, now = make("CartPole", 3, delay=2), make("CartPole", 3)
    seen, true = [late.reset(7)], [now.reset(7)]
    for _ in range(6):
        seen.append(late.step(np.zeros(3)).obs)
        true.append(now.step(np.zeros(3)).obs)
    assert np.array_equal(seen[5], true[3])
    assert np.array_equal(seen[1], true[0])
    dark = make("CartPole", 500, flicker=0.4)
    assert np.mean((dark.reset(0) == 0).all(1)) == pytest.approx(0.4, abs=0.08)
    noisy = make("CartPole", 2000, noise=0.5)
    assert noisy.reset(0).std() == pytest.approx(0.5, rel=0.1)
    with pytest.raises(ValueError, match="observes 4 numbers"):
        Partial(CartPoleVec(1), [4])
    one = PartialObservation(gym.make("CartPole-v1"), [0, 2], delay=1)
    obs, _ = one.reset(seed=0)
    assert obs.shape == (2,)
    assert np.array_equal(one.step(0)[0], obs)


def test_gymnasium_environments_by_name() -> None:
    env = make("Acrobot-v1", 2)
    assert isinstance(env, GymVec)
    assert env.reset(seed=0).shape == (2, 6)
    assert env.step(np.array([0, 1])).obs.shape == (2, 6)


def test_popgym() -> None:
    popgym = pytest.importorskip("popgym")
    env = make("popgym:RepeatPreviousEasy", 2)
    assert (env.actions, env.obs_size) == (4, 4)
    assert env.reset(seed=0).sum() == 2  # a Discrete observation is one-hot
    with pytest.raises(ValueError, match="POPGym has no"):
        make("popgym:Nothing")
    # our own RepeatPrevious: the same cards and actions give the same rewards and end
    theirs, rng = popgym.envs.repeat_previous.RepeatPreviousEasy(), np.random.default_rng(0)
    suits, told, actions = [theirs.reset(seed=1)[0]], [], rng.integers(0, 4, 60)
    for action in actions:
        suit, *rest = theirs.step(int(action))
        suits.append(suit)
        told.append(rest[:2])
        if rest[1]:
            break
    ours = make("RepeatPreviousEasy", 1)
    assert isinstance(ours, RepeatPreviousVec)
    ours.reset(0)
    ours.set_state({**ours.get_state(), "state": np.array([suits], float)})
    for t, (reward, ended) in enumerate(told):
        step = ours.step(actions[t : t + 1])
        assert step.reward[0] == pytest.approx(reward)
        assert (step.terminated[0], step.truncated[0]) == (ended, False)
        assert step.final_obs[0].argmax() == suits[t + 1]


def test_repeat_previous_rewards_memory() -> None:
    env = make("RepeatPreviousEasy", 3)
    cards, total = [env.reset(0)], 0.0
    for _ in range(51):
        step = env.step(np.argmax(cards[max(0, len(cards) - 4)], 1))
        cards.append(step.final_obs)
        total += step.reward
    assert step.terminated.all()
    assert total == pytest.approx(1.0)
    assert np.sum(cards, 0).tolist() == [[13.0] * 4] * 3


def test_advantages_of_a_cut_episode_use_the_value_of_its_last_observation() -> None:
    reward = np.ones((3, 1), np.float32)
    values = np.array([[1.0], [2.0], [3.0], [4.0]], np.float32)
    ended, after = np.array([[0.0], [1.0], [0.0]], np.float32), np.zeros((3, 1), np.float32)
    # by hand, gamma = lambda = 0.5; the second step terminates: worth nothing afterwards
    assert advantages(reward, values, ended, after, 0.5, 0.5).ravel().tolist() == [1 + 1 - 1 - 0.25, -1.0, 0.0]
    after[1] = 10  # the same step, truncated
    assert advantages(reward, values, ended, after, 0.5, 0.5).ravel().tolist() == [1 + 1 - 1 + 1.0, 4.0, 0.0]


def episode(first: int, steps: int) -> dict[str, np.ndarray]:
    return {"x": np.arange(first, first + steps), "e": np.full(steps, first)}


def test_replay_windows_stay_inside_episodes_and_are_equally_likely() -> None:
    replay = SequenceReplay(20, {"x": (), "e": ()}, whole_numbers=("x", "e"))
    for k, steps in enumerate((6, 3, 9, 5)):
        replay.add(episode(100 * k, steps))
    # 6 + 3 + 9 fill 18 of 20 steps; the fourth began anew and pushed the first out
    assert len(replay) == 17
    data, mask = replay.sample(9000, 4, np.random.default_rng(0))
    assert bool(((data["e"] == data["e"][0]) | (mask == 0)).all())
    assert bool((np.diff(data["x"], axis=0)[mask[1:] > 0] == 1).all())
    starts, counts = np.unique(data["x"][0], return_counts=True)
    assert starts.tolist() == [100, *range(200, 206), 300, 301]
    assert len(starts) == replay.starts(4) == 9
    chi2 = float(((counts - 1000) ** 2 / 1000).sum())
    assert chi2 < 26.1  # 8 degrees of freedom, p = 0.001
    assert mask[:, data["x"][0] == 100].sum(0).tolist()[0] == 3


def test_replay_refuses() -> None:
    replay = SequenceReplay(4, {"x": (), "e": ()})
    with pytest.raises(ValueError, match="the replay is empty"):
        replay.sample(1, 2, np.random.default_rng(0))
    with pytest.raises(ValueError, match="5 steps, the replay takes 1 to 4"):
        replay.add(episode(0, 5))


def test_stored_states_reproduce_the_values_acted_on() -> None:
    agent = Agent.create(
        "CartPole-P", "drqn", "grsn", 0, num_envs=4, replay_state="stored", length=6, batch=16, learning_starts=10**6
    )
    a = agent.algorithm
    a.begin()
    a.scale.update = lambda obs: None  # type: ignore[method-assign,assignment]
    acted: dict[bytes, Tensor] = {}
    with torch.no_grad():
        for _ in range(150):
            out, _ = a.net.remember(a.scaled()[None], a.previous[None], a.memory_state, a.keep[None])
            q = a.net.decide(out, a.scaled()[None])[0][0]
            acted.update({row.tobytes(): value for row, value in zip(a.obs, q, strict=True)})
            a.act()  # type: ignore[attr-defined]
        raw = a.replay.data["obs"]  # type: ignore[attr-defined]
        batch, mask, state = a.batch()  # type: ignore[attr-defined]
        q = a.values(a.net, batch, state)  # type: ignore[attr-defined]
    scaled = {np.asarray(a.scale(row[None]))[0].tobytes(): row.tobytes() for row in raw}
    checked = 0
    for t, b in np.argwhere(mask.numpy() > 0):
        row = scaled[batch["obs"][t, b].numpy().tobytes()]
        torch.testing.assert_close(q[t, b], acted[row], rtol=1e-5, atol=1e-6)
        checked += 1
    assert checked > 30


def test_k4_energies() -> None:
    def nj(kind: str, **more: object) -> float:
        mac, ac = memory_energy(kind, 48, 128, **more)  # type: ignore[arg-type]
        return mac * 4.6e-3 + ac * 0.9e-3

    assert nj("gru") == pytest.approx(310.8864, abs=1e-4)
    assert nj("lstm") == pytest.approx(414.5152, abs=1e-4)
    assert nj("grsn", rate=0.3) == pytest.approx(58.88, abs=1e-4)
    assert nj("grsn", rate=0.3, gate="input+spike") == pytest.approx(67.727, abs=1e-3)
    # the specification's agent: memory, its readout to a layer of 128, a shortcut of 32 to it, and what follows
    sizes = {"obs": 2, "act": 2, "outputs": 2, "hidden": 128, "embed": 48, "shortcut": 32, "head": 128}
    gru, grsn = agent_energy("gru", **sizes), agent_energy("grsn", rate=0.3, **sizes)  # type: ignore[arg-type]
    assert gru.nanojoule("memory") + gru.nanojoule("readout") == pytest.approx(310.8864 + 75.3664, abs=1e-3)
    assert grsn.nanojoule("readout") == pytest.approx(0.3 * 128 * 128 * 0.9e-3, abs=1e-6)
    assert "4.6 pJ" in str(grsn)


def test_interquartile_mean_and_interval() -> None:
    assert float(iqm([0, 1, 2, 3, 100, -50, 4, 5])) == pytest.approx(2.5)
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(0).normal(size=40)
    assert float(iqm(values)) == pytest.approx(float(stats.trim_mean(values, 0.25)))
    low, high = bootstrap(values)
    assert low < values.mean() < high


def test_a_drqn_written_for_a_gru_learns_after_replacing_one_line() -> None:
    """Recall: act at the last step by the first observation. The script is plain PyTorch; one line differs."""

    def script(rnn: nn.Module) -> float:
        torch.manual_seed(0)
        head = nn.Linear(32, 2)
        optimiser = torch.optim.Adam([*rnn.parameters(), *head.parameters()], 1e-2)
        right = 0.0
        for update in range(150):
            cue = torch.randint(0, 2, (64,))
            x = torch.zeros(5, 64, 3)
            x[0, torch.arange(64), cue] = 1.0
            x[1:, :, 2] = 1.0
            out, h = rnn(x, None)
            h = h.detach()[:, torch.arange(64)]  # code for a GRU handles its state like this
            q = head(out[-1])
            greedy = q.argmax(-1)
            action = torch.where(torch.rand(64) < 0.2, torch.randint(0, 2, (64,)), greedy)
            reward = (action == cue).float()
            loss = (q.gather(1, action[:, None])[:, 0] - reward).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if update >= 140:
                right += (greedy == cue).float().mean().item() / 10
        return right

    torch.manual_seed(0)
    assert script(nn.GRU(3, 32)) > 0.95
    assert script(GRSN(3, 32)) > 0.95


def test_command_line(tmp_path: Path) -> None:
    run, invoke = str(tmp_path / "run"), CliRunner().invoke
    small = ["--set", "hidden=8", "--set", "horizon=8", "--num-envs", "4"]
    told = invoke(app, ["train", "--steps", "256", "--out", run, "--json", *small])
    assert told.exit_code == 0, told.output
    assert json.loads(told.output)["steps"] == 256
    assert json.loads(invoke(app, ["resume", run, "--steps", "512", "--json"]).output)["steps"] == 512
    assert json.loads((tmp_path / "run" / "results.json").read_text())["steps"] == 512
    assert [row["steps"] for row in read_metrics(run)][-1] == 512
    assert json.loads(invoke(app, ["eval", run, "--episodes", "2", "--json"]).output)["episodes"] == 2
    assert (tmp_path / "run" / "eval.csv").read_text().count("\n") == 2
    assert "CartPole-P" in invoke(app, ["envs"]).output
    assert json.loads(invoke(app, ["energy", "--memory", "gru", "--json"]).output)["memory"] > 300
    assert {row["name"] for row in json.loads(invoke(app, ["bench", "--rounds", "1", "--steps", "4", "--json"]).output)}
    assert isinstance(invoke(app, ["train", "--env", "Nothing", "--out", run]).exception, ValueError)
    assert isinstance(invoke(app, ["train", "--set", "lr"]).exception, ValueError)
    pytest.importorskip("matplotlib")
    assert invoke(app, ["plot", run, "--out", str(tmp_path / "a.png")]).exit_code == 0
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_cutting_a_run_off_by_another_configuration(tmp_path: Path) -> None:
    first = Agent.create("CartPole-P", num_envs=4, hidden=8)
    first.learn(10, progress=False, run=tmp_path)
    with pytest.raises(ValueError, match="another configuration"):
        Agent.create("CartPole-P", num_envs=4, hidden=16).learn(10, progress=False, run=tmp_path)
    with pytest.raises(ValueError, match="holds a run already"):
        Agent.create("CartPole-P", num_envs=4, hidden=8).learn(10, progress=False, run=tmp_path)
