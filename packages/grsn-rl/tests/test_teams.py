"""Teams: games with known answers, the mixers' laws, skirmishes, other people's tasks, resuming, bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from grsn_rl import QMIX, VDN, Agent, MonotoneMixer, QMIXConfig, SumMixer, TeamNet, evaluate
from grsn_rl.envs import CartPoleVec
from grsn_rl.qmix import traced
from grsn_rl.teams import MAPS, MatrixGame, ParallelTeam, Skirmish, TeamEnv, TeamStep, TupleTeam, TwoStepGame, make
from grsn_rl.teams.skirmish import UNITS
from grsn_rl.teams.team import check_available, team_reward

SMALL = {"hidden": 8, "embed": 8, "width": 4, "hyper": 8, "batch": 4, "capacity": 2000, "epsilon_steps": 500}


def small(env: str | TeamEnv, algo: str = "qmix", memory: str = "grsn", **more: object) -> Agent:
    named = {"num_envs": 4} if isinstance(env, str) else {}
    return Agent.create(env, algo, memory, 3, **named, **{**SMALL, **more})  # type: ignore[arg-type]


def same(a: object, b: object) -> bool:
    if isinstance(a, dict):
        return isinstance(b, dict) and list(map(str, a)) == list(map(str, b)) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))  # type: ignore[arg-type]
    if isinstance(a, (torch.Tensor, np.ndarray)):
        return bool(np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True))
    return a == b or (a != a and b != b)


# known answer K6


@pytest.mark.parametrize(("algo", "worth"), [("qmix", 8.0), ("vdn", 7.0)])
def test_two_step_game_with_full_exploration(algo: str, worth: float) -> None:
    """QMIX finds the 8 that a sum of values cannot tell apart. Source: Rashid et al. (2018), section 5 and table 2."""
    agent = Agent.create(
        "two-step", algo, "gru", 0, num_envs=32, epsilon=1.0, final_epsilon=1.0, updates_per_episode=0.1, lr=3e-3,
        sync_every=10, hidden=16, embed=16, capacity=4000,
    )  # fmt: skip
    agent.learn(32 * 32 * 3, progress=False)
    assert evaluate(agent, episodes=2).mean == worth


def test_two_step_game_pays_as_published() -> None:
    game = TwoStepGame(4)
    game.reset()
    assert not game.step(np.array([[0, 0], [0, 1], [1, 0], [1, 1]])).terminated.any()
    assert np.array_equal(game.state.argmax(-1), [1, 1, 2, 2])
    step = game.step(np.array([[0, 1], [1, 1], [1, 0], [1, 1]]))
    assert step.reward.tolist() == [7, 7, 1, 8]
    assert step.terminated.all()
    assert np.array_equal(game.state.argmax(-1), [0, 0, 0, 0])


# property 8


@pytest.mark.parametrize("seed", range(5))
def test_no_agents_better_value_lowers_the_teams(seed: int) -> None:
    torch.manual_seed(seed)
    mixer = MonotoneMixer(4, 6, 8, 16)
    q = (10 * torch.randn(50, 4)).requires_grad_()
    (slope,) = torch.autograd.grad(mixer(q, 5 * torch.randn(50, 6)).sum(), q)
    assert (slope >= 0).all()
    assert (slope > 0).any()


def test_vdn_is_the_sum() -> None:
    q = torch.randn(3, 5, 4)
    assert torch.equal(SumMixer()(q, torch.randn(3, 5, 6)), q.sum(-1))
    assert isinstance(small("two-step", "vdn").algorithm.mixer, SumMixer)  # type: ignore[attr-defined]


@pytest.mark.parametrize("memory", ["grsn", "gru"])
def test_agents_are_one_network(memory: str) -> None:
    """Permuting agents, with the numbers that tell them apart, permutes their values."""
    torch.manual_seed(0)
    net = TeamNet(5, 3, 4, memory=memory, hidden=8, embed=16)
    order = torch.tensor([2, 0, 3, 1])
    obs, previous = torch.randn(6, 4, 5), torch.zeros(6, 4, 3)
    out, _ = net.remember(obs, previous, net.init_state(4), None)
    with torch.no_grad():
        columns = net.encoder.weight[:, -4:].clone()
        net.encoder.weight[:, -4:] = columns[:, order]
    moved, _ = net.remember(obs[:, order], previous, net.init_state(4), None)
    assert torch.allclose(moved, out[:, order], atol=1e-6)


def test_energy_of_the_published_agent() -> None:
    """80 -> 64 -> 64 -> 14, rate 0.3. Source: hand calculation, 4.6 pJ per MAC and 0.9 pJ per AC."""
    for memory, told in (("gru", 140.7232), ("grsn", 62.6547)):
        net = TeamNet(80 - 14 - 8, 14, 8, memory=memory)
        assert net.energy(0.3).nanojoule() == pytest.approx(told, abs=1e-3)


def test_lambda_returns_by_hand() -> None:
    """Two steps and a masked third: r0 + g((1 - l) v0 + l (r1 + g v1)); the last live step has one step's target."""
    column = torch.tensor([[1.0], [2.0], [9.0]])
    follows, weight = torch.tensor([[3.0], [4.0], [9.0]]), torch.tensor([[1.0], [1.0], [0.0]])
    got = traced(column, torch.zeros(3, 1), follows, weight, 0.5, 0.5)
    assert got[1].item() == 2 + 0.5 * 4
    assert got[0].item() == 1 + 0.5 * (0.5 * 3 + 0.5 * 4)
    assert torch.equal(traced(column, torch.zeros(3, 1), follows, weight, 0.5, 0.0), column + 0.5 * follows)


# training


@pytest.mark.parametrize(
    ("algo", "memory", "env"),
    [("qmix", "grsn", "skirmish:3m"), ("qmix", "gru", "skirmish:3m"), ("vdn", "lif", "two-step")],
)
def test_train_2n_equals_train_n_save_load_train_n(tmp_path: Path, algo: str, memory: str, env: str) -> None:
    n = 4 * 32 * 2
    whole = small(env, algo, memory)
    whole.learn(2 * n, progress=False, run=tmp_path / "whole")
    small(env, algo, memory).learn(n, progress=False, run=tmp_path / "parts")
    resumed = Agent.load(tmp_path / "parts" / "checkpoints" / "last.npz")
    resumed.learn(2 * n, progress=False, run=tmp_path / "parts", total=True)
    assert same(whole.algorithm.get_state(), resumed.algorithm.get_state())
    rows = [(tmp_path / run / "metrics.csv").read_text() for run in ("whole", "parts")]
    assert rows[0] == rows[1]
    assert whole.algorithm.updates > 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("memory", ["lstm", "none", "grsn-notap"])
def test_every_memory_trains_and_is_evaluated(memory: str) -> None:
    agent = small("skirmish:3m", memory=memory)
    agent.learn(4 * 32, progress=False)
    result = evaluate(agent, episodes=2)
    assert 0 <= result.won <= 1
    assert 0 <= result.mean <= 20
    assert result.energy_nJ > 0


def test_acting_equals_the_training_unroll() -> None:
    agent = small("skirmish:3m", hidden=64)
    a = agent.algorithm
    assert isinstance(a, QMIX)
    a.begin()
    rows = []
    with torch.no_grad():
        for _ in range(10):
            seen = torch.from_numpy(a.scale(a.obs)).view(-1, a.env.obs_size)
            previous = a.previous
            rows.append(
                (seen, previous, a.net.remember(seen[None], previous[None], a.memory_state, a.keep[None])[0][0])
            )
            a.act()
        obs, previous, spikes = (torch.stack(column) for column in zip(*rows, strict=True))
        unrolled, _ = a.net.remember(obs, previous, a.net.init_state(12), None)
    assert int((unrolled != spikes).sum()) == 0


def test_episodes_are_stored_with_their_end() -> None:
    agent = small("skirmish:3m", env_options={"limit": 5})
    a = agent.algorithm
    assert isinstance(a, QMIX)
    a.begin()
    for _ in range(5):
        a.act()
    assert len(a.replay) == 4 * 6
    live = a.replay.data["live"][:6]
    assert live.tolist() == [1, 1, 1, 1, 1, 0]
    assert a.replay.data["terminated"][:5].sum() == 0  # cut, not over
    assert a.replay.data["obs"][5].any()


def test_predict_takes_teams() -> None:
    agent = small("skirmish:3m")
    env = agent.make_env(2)
    assert isinstance(env, Skirmish)
    obs, state, start = env.reset(1), None, True
    for _ in range(3):
        action, state = agent.predict(obs, state, start, available=env.available)
        step = env.step(action)
        obs, start = step.obs, step.terminated | step.truncated
    assert action.shape == (2, 3)
    assert agent.predict(obs[0])[0].shape == (3,)
    with pytest.raises(ValueError, match=r"trained on \[N, 3, 31\]"):
        agent.predict(obs[:, :2])
    with pytest.raises(ValueError, match="state is of 6 agents, obs of 3"):
        agent.predict(obs[:1], state)
    mask = env.available.copy()
    mask[0, 1] = False
    with pytest.raises(ValueError, match=r"agent 1 of environment 0 .* has no available action"):
        agent.predict(obs, available=mask)


def test_command_compares_environments_and_algorithms(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from grsn_rl.cli import app

    told = CliRunner().invoke(
        app,
        ["compare", "--env", "two-step,matrix:penalty", "--algo", "qmix,vdn", "--memories", "none", "--steps", "256",
         "--out", str(tmp_path), "--json"],
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    rows = json.loads(told.output)
    assert [(row["env"], row["algo"]) for row in rows] == [
        ("two-step", "qmix"), ("two-step", "vdn"), ("matrix:penalty", "qmix"), ("matrix:penalty", "vdn"),
    ]  # fmt: skip
    assert all(row["energy_nJ"] > 0 for row in rows)


# skirmish


def ready(name: str = "3m", n: int = 1) -> Skirmish:
    env = Skirmish(name, n, jitter=0.0)
    env.reset(0)
    return env


def test_skirmish_by_hand() -> None:
    """Marines 14 apart: out of sight; moving 1.1 per step; a shot takes 6 of 45 health, every 1.7 steps."""
    env = ready()
    assert not env.available[:, :, 6:].any()
    env.step(np.full((1, 3), 4))
    assert env._place[0, :3, 0] == pytest.approx([10.1] * 3)
    assert env._place[0, 3:, 0] == pytest.approx([21.9] * 3, abs=0.05)
    env._place[0, :3, 0], env._place[0, 3:, 0] = 14.0, 18.0
    env.state, env.available = env._look()[1:]
    assert env.available[:, :, 6:].all()
    step = env.step(np.full((1, 3), 6))
    assert env._health[0, 3] == 45 - 18
    assert step.reward[0] == pytest.approx(18 * 20 / (3 * 45 + 30 + 200))


def test_all_of_the_reward_is_twenty() -> None:
    for name in MAPS:
        env = ready(name)
        env._health[0, env.agents :] = 1.0
        whole = sum(UNITS[kind].health * count for kind, count in MAPS[name][1].items())
        most = (env.enemies * 1.0 + 10 * env.enemies + 200) * 20 / (whole + 10 * env.enemies + 200)
        env._place[0, : env.agents] = env._place[0, env.agents :].mean(0)
        env._health[0, : env.agents] = 1e6
        got, done = 0.0, False
        env.state, env.available = env._look()[1:]
        for _ in range(200):
            allowed = env.available
            attack = allowed[..., 6:]
            step = env.step(np.where(attack.any(-1), 6 + attack.argmax(-1), allowed.argmax(-1)))
            got += float(step.reward[0])
            if step.won is not None and step.won[0]:
                done = True
                break
        assert done, name
        assert got == pytest.approx(most, rel=1e-4)


def test_the_dead_can_do_nothing_and_see_nothing() -> None:
    env = ready()
    env._health[0, 1] = 0.0
    obs, _, available = env._look()
    assert np.flatnonzero(available[0, 1]).tolist() == [0]
    assert not obs[0, 1].any()
    assert not available[0, [0, 2], 0].any()
    env.available = available
    with pytest.raises(ValueError, match=r"agent 1 of environment 0 .* chose 4, which is not available; it has \[0\]"):
        env.step(np.full((1, 3), 4))


def test_sight_ends_at_nine() -> None:
    env = ready()
    env._place[0, 3:] = env._place[0, 0] + np.array([[8.9, 0.0], [9.1, 0.0], [0.0, 20.0]])
    obs = env._look()[0][0, 0]
    shown = obs[4:19].reshape(3, 5)
    assert shown[0] == pytest.approx([0, 8.9 / 9, 8.9 / 9, 0, 1], abs=1e-6)
    assert not shown[1:].any()


def test_many_battles_are_each_alone() -> None:
    """Rows of a batch of battles equal battles fought alone."""
    rng = np.random.default_rng(0)
    many, single = ready("2s3z", 3), ready("2s3z", 1)
    for _ in range(30):
        a = (rng.random(many.available.shape) * many.available).argmax(-1)
        # the first battle again, alone
        single.available = many.available[:1]
        step, alone = many.step(a), single.step(a[:1])
        if step.terminated[0]:
            break
        assert np.array_equal(step.obs[0], alone.obs[0])
        assert step.reward[0] == alone.reward[0]


def test_skirmish_goes_on_from_its_state() -> None:
    env = Skirmish("3m", 4)
    env.reset(5)
    rng = np.random.default_rng(0)

    def play(count: int) -> list[np.ndarray]:
        return [env.step((rng.random(env.available.shape) * env.available).argmax(-1)).obs for _ in range(count)]

    play(30)
    state, rng_state = env.get_state(), rng.bit_generator.state
    first = play(40)
    rng.bit_generator.state = rng_state
    env = Skirmish("3m", 4)
    env.set_state(state)
    assert all(np.array_equal(a, b) for a, b in zip(first, play(40), strict=True))


# other people's teams


class _Two:
    """Two agents in PettingZoo's manner; the second leaves after two steps."""

    possible_agents = ("a", "b")

    def __init__(self, mask: bool = False) -> None:
        import gymnasium as gym

        self.spaces = {"a": gym.spaces.Box(-1, 1, (3,)), "b": gym.spaces.Box(-1, 1, (2,))}
        self.acts = {"a": gym.spaces.Discrete(2), "b": gym.spaces.Discrete(3)}
        self.mask = mask

    def observation_space(self, agent: str) -> object:
        return self.spaces[agent]

    def action_space(self, agent: str) -> object:
        return self.acts[agent]

    def _told(self) -> dict[str, dict[str, object]]:
        return {a: {"action_mask": np.array([0, 1, 0][: self.acts[a].n])} if self.mask else {} for a in self.agents}

    def reset(self, seed: int | None = None) -> tuple[dict[str, np.ndarray], dict[str, dict[str, object]]]:
        self.agents, self.t = ["a", "b"], 0
        return {"a": np.ones(3), "b": np.full(2, 2.0)}, self._told()

    def step(self, action: dict[str, int]) -> tuple[object, ...]:
        self.t += 1
        acted, over = list(self.agents), self.t == 4
        self.agents = [] if over else ["a"] if self.t >= 2 else ["a", "b"]
        obs = {a: np.full(self.spaces[a].shape, float(self.t)) for a in acted}
        ended = {a: over or a not in self.agents for a in acted}
        return obs, {a: float(action[a] + 1) for a in acted}, ended, dict.fromkeys(acted, False), self._told()

    def close(self) -> None: ...


def test_parallel_environments_become_teams() -> None:
    env = ParallelTeam(_Two, 2, "two", 10, "sum")
    obs = env.reset(0)
    assert obs.shape == (2, 2, 3)
    assert obs[0, 1].tolist() == [2, 2, 0]
    assert env.available[0].tolist() == [[True, True, False], [True, True, True]]
    step = env.step(np.array([[1, 2], [0, 0]]))
    assert step.reward.tolist() == [5, 2]
    env.step(np.array([[0, 0], [0, 0]]))
    assert env.available[0].tolist() == [[True, True, False], [True, False, False]]  # b left
    step = env.step(np.array([[0, 0], [0, 0]]))
    assert step.obs[0, 1].tolist() == [0, 0, 0]
    step = env.step(np.array([[0, 0], [0, 0]]))
    assert step.terminated.all()
    assert step.obs[0, 1].tolist() == [2, 2, 0]


def test_masks_and_limits_of_parallel_environments() -> None:
    env = ParallelTeam(lambda: _Two(mask=True), 1, "two", 2, "mean")
    env.reset(0)
    assert env.available[0].tolist() == [[False, True, False], [False, True, False]]
    env.step(np.array([[1, 1]]))
    step = env.step(np.array([[1, 1]]))
    assert step.truncated.all()
    assert not step.terminated.any()


def test_spread_of_mpe2() -> None:
    pytest.importorskip("mpe2")
    agent = Agent.create("mpe:simple_spread_v3", "vdn", "grsn", 0, num_envs=2, **SMALL)  # type: ignore[arg-type]
    agent.learn(2 * 32, progress=False)
    assert agent.algorithm.env.state_size == 54
    assert agent.algorithm.episodes == 2


def test_foraging() -> None:
    pytest.importorskip("lbforaging")
    env = make("foraging:8x8-2p-3f-v3", 2, limit=60)
    assert isinstance(env, TupleTeam)
    assert env.reset(0).shape == (2, 2, 15)
    for _ in range(60):
        step = env.step(np.zeros((2, 2), int))
    assert step.truncated.all()
    assert not step.terminated.any()


# bad input


def test_rewards_per_agent_against_team_rewards() -> None:
    assert team_reward([1.0, 2.0], 2, "sum", "x") == 3
    assert team_reward([1.0, 2.0], 2, "mean", "x") == 1.5
    with pytest.raises(ValueError, match=r"pays 2 rewards, one per agent.*reward='sum'"):
        team_reward([1.0, 2.0], 2, "team", "x")
    with pytest.raises(ValueError, match=r"pays 1 rewards for 2 agents; pass reward='team'"):
        team_reward(1.0, 2, "mean", "x")

    class PerAgent(TwoStepGame):
        def step(self, action: np.ndarray) -> TeamStep:
            step = super().step(action)
            return step._replace(reward=np.repeat(step.reward[:, None], 2, 1))

    with pytest.raises(ValueError, match=r"pays rewards of shape \(2, 2\); qmix learns from one per team"):
        small(PerAgent(2)).learn(64, progress=False)


def test_an_agent_without_an_action_is_named() -> None:
    class Stuck(TwoStepGame):
        def reset(self, seed: int | None = None) -> np.ndarray:
            self.available[1, 0] = False
            return super().reset(seed)

    with pytest.raises(ValueError, match=r"agent 0 of environment 1 \(two-step\) has no available action"):
        small(Stuck(2)).learn(64, progress=False)
    with pytest.raises(ValueError, match=r"chose 2; actions are 0..1"):
        TwoStepGame(1).step(np.array([[2, 0]]))
    with pytest.raises(ValueError, match=r"action has shape \(1,\)"):
        check_available(TwoStepGame(1), np.ones((1, 2, 2), bool), np.zeros(1, int))


def test_bad_names_and_sizes() -> None:
    with pytest.raises(ValueError, match="no map is named '4m'"):
        make("skirmish:4m")
    with pytest.raises(ValueError, match="no team task is named 'CartPole-P'"):
        Agent.create("CartPole-P", "qmix")
    with pytest.raises(NotImplementedError, match="2 agents, ppo trains one"):
        Agent.create(TwoStepGame(4), "ppo")
    with pytest.raises(NotImplementedError, match="has one agent, vdn trains teams"):
        Agent.create(CartPoleVec(2), "vdn")
    with pytest.raises(ValueError, match="capacity=30 given, an episode of skirmish:3m takes up to 61 rows"):
        small("skirmish:3m", capacity=30)
    with pytest.raises(ValueError, match="trace in"):
        QMIXConfig(trace=2.0)
    with pytest.raises(ValueError, match="an axis per agent"):
        MatrixGame([[1.0, 2.0]])
    with pytest.raises(ValueError, match="no matrix is named"):
        MatrixGame("chess")


def test_a_replay_smaller_than_a_batch_still_teaches() -> None:
    agent = small(MatrixGame("climbing", 2), "vdn", "none", capacity=4, batch=16)
    agent.learn(64, progress=False)
    a = agent.algorithm
    assert isinstance(a, VDN)
    assert a.updates > 10
    assert len(a.replay) == 4
    assert all(torch.isfinite(p).all() for p in a.net.parameters())


def test_all_masked_steps_cost_nothing() -> None:
    agent = small(MatrixGame("penalty", 2), "vdn", "none")
    agent.learn(64, progress=False)
    a = agent.algorithm
    assert isinstance(a, QMIX)
    a.replay.data["live"][:] = 0
    assert a.update() == (0.0, 0.0)


def test_matrix_game_is_learned() -> None:
    """A sum of values that everybody explores fits the means of rows and columns, so the safe action wins."""
    agent = small(
        MatrixGame("penalty", 16), "vdn", "none", epsilon=1.0, final_epsilon=1.0, lr=1e-2, updates_per_episode=0.2
    )
    agent.learn(16 * 32 * 2, progress=False)
    game = MatrixGame("penalty", 1)
    action, _ = agent.predict(game.reset())
    assert action.tolist() == [[1, 1]]
