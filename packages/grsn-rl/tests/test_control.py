"""SAC, SAC-discrete and TD3: what their losses say, resuming bit for bit, presets, bad input."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from grsn_rl import SAC, Agent, SACConfig, SACDiscrete, TwinCritic, evaluate
from grsn_rl.envs import make
from grsn_rl.envs.vector import Step, VecEnv
from grsn_rl.offpolicy import OffPolicy, follow
from grsn_rl.sac import squashed

SMALL = {
    "learning_starts": 100, "batch": 4, "length": 8, "updates_per_step": 0.03,
    "hidden": 8, "embed": 8, "shortcut": 8, "head": 8,
}  # fmt: skip
TASK = {"sac": "Pendulum-V", "td3": "Pendulum-V", "sac-discrete": "CartPole-P"}


def small(algo: str, memory: str = "grsn", env: str | VecEnv | None = None, **more: object) -> Agent:
    env = env or TASK[algo]
    named = {"num_envs": 4, "env_options": {"limit": 20}} if isinstance(env, str) else {}
    return Agent.create(env, algo, memory, 3, **named, **{**SMALL, **more})  # type: ignore[arg-type]


def same(a: object, b: object) -> bool:
    if isinstance(a, dict):
        return isinstance(b, dict) and list(map(str, a)) == list(map(str, b)) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))  # type: ignore[arg-type]
    if isinstance(a, (torch.Tensor, np.ndarray)):
        return bool(np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True))
    return a == b or (a != a and b != b)


@pytest.mark.parametrize(
    ("algo", "memory", "more"),
    [("sac", "grsn", {"burn_in": 2}), ("sac", "gru", {}), ("td3", "grsn", {"delay": 3}), ("sac-discrete", "lif", {})],
)
def test_train_2n_equals_train_n_save_load_train_n(
    tmp_path: Path, algo: str, memory: str, more: dict[str, object]
) -> None:
    n = 4 * 32 * 2
    whole = small(algo, memory, **more)
    whole.learn(2 * n, progress=False, run=tmp_path / "whole")
    small(algo, memory, **more).learn(n, progress=False, run=tmp_path / "parts")
    resumed = Agent.load(tmp_path / "parts" / "checkpoints" / "last.npz")
    resumed.learn(2 * n, progress=False, run=tmp_path / "parts", total=True)
    assert same(whole.algorithm.get_state(), resumed.algorithm.get_state())
    rows = [(tmp_path / run / "metrics.csv").read_text() for run in ("whole", "parts")]
    assert rows[0] == rows[1]
    # learning had begun before the break
    assert "nan" not in rows[0].splitlines()[2]


@pytest.mark.parametrize("memory", ["lstm", "none", "grsn-notap"])
@pytest.mark.parametrize("algo", ["sac", "td3", "sac-discrete"])
def test_every_memory_trains_and_is_evaluated(algo: str, memory: str) -> None:
    agent = small(algo, memory)
    agent.learn(4 * 32, progress=False)
    result = evaluate(agent, episodes=2)
    assert np.isfinite(result.mean)
    assert np.isfinite(result.energy_nJ)
    action, _ = agent.predict(np.zeros((2, agent.algorithm.net.obs_size)), deterministic=False)
    assert np.abs(action).max() <= 1


def test_density_of_a_squashed_gaussian() -> None:
    """Against the change of variables in float64: density of u, minus log of tanh's slope."""
    head = torch.tensor([[0.3, -0.8, 0.1, -0.5], [1.5, 0.2, -2.0, 0.4]], dtype=torch.float64)
    action, density = squashed(head, torch.Generator().manual_seed(0))
    u = torch.atanh(action)
    mean, log_std = head.chunk(2, -1)
    gauss = torch.distributions.Normal(mean, log_std.exp()).log_prob(u)
    assert torch.allclose(density, (gauss - torch.log(1 - action**2)).sum(-1), atol=1e-6)


def test_density_stays_finite_far_out() -> None:
    action, density = squashed(torch.tensor([[40.0, -30.0]]), torch.Generator().manual_seed(0))
    assert torch.isfinite(density).all()
    assert action.abs().max() <= 1


def test_discrete_draws_follow_the_policy() -> None:
    agent = small("sac-discrete")
    policy = torch.tensor([0.2, 0.8])
    drawn = agent.algorithm.explore(policy.log().expand(20_000, 2))  # type: ignore[attr-defined]
    assert abs(drawn.mean() - 0.8) < 0.01  # 3.5 standard deviations


def test_twin_critic_is_two_functions() -> None:
    critic = TwinCritic(3, 2, 1, hidden=8, head=8)
    obs, previous, action = torch.randn(5, 4, 3), torch.randn(5, 4, 2), torch.randn(5, 4, 2)
    out, _ = critic.remember(obs, previous, critic.init_state(4), None)
    values = critic.judge(out, obs, action)
    assert values.shape == (2, 5, 4, 1)
    with torch.no_grad():
        critic.second[1] += 1.0
    after = critic.judge(out, obs, action)
    assert torch.equal(values[0], after[0])
    assert not torch.equal(values[1], after[1])


class _Bandit(VecEnv):
    """One step; the reward is the action (or -1, 1 of a discrete one); the end is the task's or the time limit's."""

    name, resumable = "bandit", True

    def __init__(self, actions: int | None = None, cut: bool = False, num_envs: int = 4) -> None:
        self.num_envs, self.obs_size, self.actions, self.action_size, self.cut = num_envs, 1, actions, 1, cut

    def reset(self, seed: int | None = None) -> np.ndarray:
        return np.ones((self.num_envs, 1), np.float32)

    def step(self, action: np.ndarray) -> Step:
        paid = np.asarray(action, np.float32).reshape(self.num_envs)
        yes, no = np.ones(self.num_envs, bool), np.zeros(self.num_envs, bool)
        obs = np.ones((self.num_envs, 1), np.float32)
        return Step(obs, paid, no if self.cut else yes, yes if self.cut else no, obs)

    def get_state(self) -> dict[str, object]:
        return {"nothing": 0}


@pytest.mark.parametrize("algo", ["sac", "td3", "sac-discrete"])
def test_learns_episodes_of_one_step(algo: str) -> None:
    """The best action is the largest; a window of eight steps holds one that counts and seven that are masked."""
    env = _Bandit(2 if algo == "sac-discrete" else None)
    # the entropy that the temperature steers to leaves the better arm clearly ahead
    more = {"target_entropy": 0.3} if algo == "sac-discrete" else {}
    agent = small(algo, "none", env, updates_per_step=0.25, lr=2e-2, tau=0.2, **more)
    agent.learn(4 * 32 * 4, progress=False)
    action, _ = agent.predict(np.ones((1, 1)))
    assert float(action.reshape(-1)[0]) > 0.8


@pytest.mark.parametrize("algo", ["sac", "td3", "sac-discrete"])
def test_a_time_limit_is_not_an_end(algo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What values learn after a step: its reward alone where the task ended, and what follows where it was cut."""
    for cut in (False, True):
        agent = small(algo, env=_Bandit(2 if algo == "sac-discrete" else None, cut=cut))
        a = agent.algorithm
        assert isinstance(a, OffPolicy)
        a.begin()
        a.act()
        drawn = a.batch()
        seen: list[torch.Tensor] = []
        monkeypatch.setattr(a, "batch", lambda drawn=drawn: drawn)
        monkeypatch.setattr(a, "learn_values", lambda values, wanted, mask, seen=seen: seen.append(wanted) or 0.0)
        a.update()
        same = seen[0] == drawn.reward
        assert bool(same[drawn.mask > 0].all()) is not cut


def test_acting_equals_the_training_unroll() -> None:
    """The actor's spikes in a window that starts an episode are those it acted with."""
    agent = small("sac", hidden=64)
    a = agent.algorithm
    assert isinstance(a, SAC)
    a.begin()
    rows = []
    with torch.no_grad():
        for _ in range(12):
            seen, previous, keep = a.scaled(), a.previous, a.keep
            out, _ = a.net.remember(seen[None], previous[None], a.memory_state, keep[None])
            rows.append((seen, previous, out[0]))
            a.act()
        obs, previous, spikes = (torch.stack(column) for column in zip(*rows, strict=True))
        unrolled, _ = a.net.remember(obs, previous, a.net.init_state(4), None)
    assert int((unrolled != spikes).sum()) == 0


def test_policy_step_leaves_the_critic_without_gradient() -> None:
    agent = small("sac")
    a = agent.algorithm
    assert isinstance(a, SAC)
    a.begin()
    while len(a.replay) == 0:
        a.act()
    a.critic_optimiser.zero_grad()
    batch = a.batch()
    out = a.unroll(a.critic, batch, last=False)
    action, _ = squashed(a.net.decide(a.unroll(a.net, batch, last=False), batch.obs[:-1])[0], a.random)
    a.learn_policy(-a.critic.judge(out.detach(), batch.obs[:-1], action)[0, ..., 0], batch.mask)
    assert all(p.grad is None for p in a.critic.parameters())
    assert all(p.grad is not None for p in a.net.parameters())


def test_all_masked_batch_gives_a_loss_of_zero() -> None:
    agent = small("sac")
    a = agent.algorithm
    assert isinstance(a, SAC)
    values = torch.ones(2, 3, 4, requires_grad=True)
    a.critic_optimiser.step = lambda: None  # type: ignore[method-assign, assignment]
    assert a.learn_values(values, torch.zeros(3, 4), torch.zeros(3, 4)) == 0.0


def test_follow_moves_a_share() -> None:
    old, new = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    before = old.weight.detach().clone()
    follow(old, new, 0.25)
    assert torch.allclose(old.weight, before + 0.25 * (new.weight - before))


def test_reward_scale_changes_what_is_learned_and_not_what_is_told() -> None:
    plain, scaled = (small("sac", "none", reward_scale=factor).algorithm for factor in (1.0, 0.25))
    for a in (plain, scaled):
        assert isinstance(a, SAC)
        a.begin()
        while len(a.replay) == 0:
            a.act()
    assert torch.allclose(scaled.batch().reward, 0.25 * plain.batch().reward)  # type: ignore[attr-defined]
    assert plain.returns == scaled.returns


def test_presets_and_what_goes_before_them() -> None:
    paper = Agent.create("Pendulum-V", "sac", preset="paper", lr=1e-3)
    assert paper.settings() | {"lr": 1e-3, "length": 64, "gamma": 0.9, "hidden": 128} == paper.settings()
    assert Agent.create("Pendulum-V", "td3", preset="paper").settings()["delay"] == 1
    with pytest.raises(ValueError, match=r"preset='papr' is not known; choose one of 'fast', 'paper'"):
        Agent.create("Pendulum-V", "sac", preset="papr")


def test_bad_input_is_one_clear_error() -> None:
    with pytest.raises(NotImplementedError, match="use algo='sac-discrete'"):
        small("sac", env="CartPole-P")
    with pytest.raises(NotImplementedError, match="use algo='sac'"):
        small("sac-discrete", env="Pendulum-V")
    with pytest.raises(NotImplementedError, match="use algo='sac-discrete'"):
        small("td3", env="CartPole-P")
    with pytest.raises(ValueError, match="some steps must be left"):
        SACConfig(length=4, burn_in=4)
    with pytest.raises(ValueError, match=r"expected both in \(0, 1\]"):
        SACConfig(tau=0.0)
    with pytest.raises(ValueError, match="updates_per_step=-1"):
        SACConfig(updates_per_step=-1)
    with pytest.raises(ValueError, match="reward_scale=0"):
        SACConfig(reward_scale=0)
    with pytest.raises(ValueError, match="target_entropy"):
        small("sac-discrete", target_entropy=1.5)
    with pytest.raises(ValueError, match="noise=-1"):
        small("td3", noise=-1.0)


def test_a_replay_smaller_than_an_episode_says_so() -> None:
    with pytest.raises(ValueError, match=r"episode has 20 steps, the replay takes 1 to 10; raise its capacity"):
        small("sac", capacity=10).learn(4 * 32, progress=False)


def test_a_replay_smaller_than_a_batch_still_teaches() -> None:
    """Four episodes of one step, batches of sixteen windows of eight: windows repeat, and nothing is read outside."""
    agent = small("sac", "none", _Bandit(), capacity=4, batch=16, learning_starts=4)
    agent.learn(4 * 32, progress=False)
    assert all(math.isfinite(p.abs().max().item()) for p in agent.algorithm.net.parameters())
    assert len(agent.algorithm.replay) == 4  # type: ignore[attr-defined]


def test_unbounded_actions_are_refused() -> None:
    import gymnasium as gym

    from grsn_rl.envs import GymVec

    class Loose(gym.Env):  # type: ignore[type-arg]
        observation_space = gym.spaces.Box(-1, 1, (2,))
        action_space = gym.spaces.Box(-np.inf, np.inf, (1,))

    with pytest.raises(ValueError, match="finite bounds"):
        GymVec(Loose, 1, "loose")


def test_names_lead_to_the_classes() -> None:
    assert isinstance(small("sac-discrete").algorithm, SACDiscrete)
    assert make("Pendulum-V", 2).shape == [1, None, 1]
