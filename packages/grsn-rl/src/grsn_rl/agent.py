"""The agent as people use it: create, learn, predict, save, load."""

from __future__ import annotations

import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from grsn_rl import checkpoint
from grsn_rl._checks import choice, whole
from grsn_rl.algorithm import Algorithm
from grsn_rl.drqn import DRQN
from grsn_rl.envs.vector import VecEnv
from grsn_rl.nets import one_hot
from grsn_rl.ppo import PPO
from grsn_rl.qmix import QMIX, VDN
from grsn_rl.runs import Run, interruptible
from grsn_rl.sac import SAC
from grsn_rl.sac_discrete import SACDiscrete
from grsn_rl.statistics import mean_of
from grsn_rl.td3 import TD3
from grsn_rl.teams.team import TeamEnv

__all__ = ["ALGORITHMS", "Agent"]

ALGORITHMS: dict[str, type[Any]] = {
    "ppo": PPO, "drqn": DRQN, "sac": SAC, "sac-discrete": SACDiscrete, "td3": TD3, "qmix": QMIX, "vdn": VDN,
}  # fmt: skip
NUM_ENVS = {"ppo": 64, "drqn": 8, "sac": 4, "sac-discrete": 4, "td3": 4, "qmix": 8, "vdn": 8}


class Agent:
    """A recurrent agent: an algorithm, its network, its environments. Made by :meth:`create` or :meth:`load`.

    ``config`` is what a run folder holds: environment, algorithm, memory, seed and settings.
    """

    def __init__(self, algorithm: Algorithm, config: dict[str, Any]) -> None:
        self.algorithm, self.config = algorithm, config
        #: spikes of the last ``predict``, [N, H]; of a memory without spikes, what it put out
        self.last_output: NDArray[np.float32] | None = None

    @classmethod
    def create(
        cls,
        env: str | VecEnv,
        algo: str = "ppo",
        memory: str = "grsn",
        seed: int = 0,
        *,
        num_envs: int | None = None,
        env_options: dict[str, Any] | None = None,
        memory_options: dict[str, Any] | None = None,
        preset: str | None = None,
        **settings: Any,
    ) -> Agent:
        """A new agent.

        Args:
            env: a name of ``grsn_rl.envs.make`` (qmix, vdn: of ``grsn_rl.teams.make``), or environments of your own.
            algo: "ppo", "drqn", "sac", "sac-discrete", "td3", "qmix" or "vdn".
            memory: "grsn", "lif", "gru", "lstm", "none" or "grsn-notap". seed: decides weights, episodes and actions.
            num_envs: environments at once where ``env`` is a name (``NUM_ENVS``). env_options: noise, flicker, delay,
            limit; of teams: limit, jitter, reward. memory_options: further arguments of the memory.
            preset: settings that the algorithm knows by a name, such as "paper" of SAC. settings: of the algorithm
            (``PPOConfig``, ``SACConfig``, ...); they come before the preset's.
        Raises:
            ValueError, TypeError: a name or setting that does not fit. NotImplementedError: unsupported spaces.
        """
        choice("algo", algo, tuple(ALGORITHMS))
        kind = ALGORITHMS[algo]
        if preset is not None:
            settings = {**kind.presets[choice("preset", preset, tuple(kind.presets))], **settings}
        known = [f.name for f in fields(kind.Config)]
        for name in settings:
            if name not in known:
                raise TypeError(f"{algo} has no setting {name!r}; it has {', '.join(known)}")
        if isinstance(env, str):
            env_name, options = env, dict(env_options or {})
            built = kind.make_env(env, whole("num_envs", num_envs or NUM_ENVS[algo]), **options)
        elif env_options or num_envs:
            raise TypeError("num_envs and env_options belong to an environment's name; yours is made already")
        else:
            env_name, options, built = None, {}, env
        if isinstance(built, TeamEnv) and not issubclass(kind, QMIX):
            raise NotImplementedError(f"{built.name} has {built.agents} agents, {algo} trains one; use 'qmix' or 'vdn'")
        config = {
            "env": env_name, "env_options": options, "num_envs": built.num_envs, "shape": built.shape, "algo": algo,
            "memory": memory, "memory_options": dict(memory_options or {}), "seed": int(seed), "settings": settings,
        }  # fmt: skip
        # weights come from this seed alone; the caller's random state is left as it was
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            algorithm = kind(built, memory, kind.Config(**settings), int(seed), config["memory_options"])
        return cls(algorithm, config)

    @property
    def steps(self) -> int:
        """Environment steps taken in training."""
        return self.algorithm.steps

    def settings(self) -> dict[str, Any]:
        """All settings of the algorithm, defaults included."""
        return asdict(self.algorithm.config)  # type: ignore[attr-defined]

    # learning

    def learn(
        self,
        steps: int,
        *,
        progress: bool = True,
        run: Run | str | Path | None = None,
        checkpoint_every: float = 60.0,
        total: bool = False,
        eval_every: int = 0,
        eval_episodes: int = 20,
    ) -> Agent:
        """Train for so many more environment steps (whole rollouts, so up to one more).

        Args:
            steps: environment steps, all environments together. progress: a bar with return, speed, rate and energy,
                where the output is a terminal. run: a folder for config.json, metrics.csv, tb/ and
                checkpoints/last.npz.
            checkpoint_every: seconds between checkpoints of the run. total: ``steps`` is the sum to reach, not to add.
            eval_every: environment steps between evaluations, whose mean greedy return is the run's column
            ``greedy_return`` (nan between them; actions in training are drawn, so its returns are lower); 0: none.
            eval_episodes: greedy episodes of each.
        Returns:
            The agent itself.
        Interrupting (Ctrl-C) ends after the present rollout, with a checkpoint in the run's folder, and raises
        KeyboardInterrupt; a second one ends at once.
        """
        from grsn_rl.evaluate import evaluate

        a = self.algorithm
        if whole("eval_every", eval_every, 0) and self.config["env"] is None:
            raise ValueError("eval_every needs an agent created by an environment's name; yours was made already")
        goal = whole("steps", steps, 0) + (0 if total else a.steps)
        folder = Run(run, self) if isinstance(run, (str, Path)) else run
        with interruptible() as stopped, folder or _nothing(), _bar(goal, a.steps, progress) as bar:
            saved = time.monotonic()
            begun, first = time.perf_counter(), a.steps
            while a.steps < goal and not stopped():
                before = a.steps
                numbers = a.iterate()
                bar.update(a.steps - before)
                speed = (a.steps - first) / max(time.perf_counter() - begun, 1e-9)
                told = {
                    "steps": a.steps,
                    "episodes": a.episodes,
                    "return": mean_of(a.returns),
                    "length": mean_of(a.lengths),
                }
                told |= self.spiking() | numbers
                if eval_every:
                    due = a.steps // eval_every > before // eval_every
                    told["greedy_return"] = evaluate(self, episodes=eval_episodes).mean if due else float("nan")
                bar.set_postfix(
                    {k: f"{told[k]:.3g}" for k in ("return", "rate", "nJ") if k in told} | {"steps/s": f"{speed:.0f}"},
                    refresh=False,
                )
                if folder is not None:
                    folder.log(told, speed)
                    if time.monotonic() - saved >= checkpoint_every:
                        folder.save(self)
                        saved = time.monotonic()
            if folder is not None:
                folder.save(self)
            if stopped():
                raise KeyboardInterrupt
        return self

    @torch.no_grad()
    def spiking(self) -> dict[str, float]:
        """Firing, dead and saturated fractions of the last rollout or batch, and nJ per step; empty without spikes."""
        from grsn_rl.evaluate import energy_of

        counts = self.algorithm.fired
        if counts is None:
            return {"nJ": energy_of(self, float("nan")).nanojoule()}
        rate = float(counts.mean())
        return {
            "rate": rate,
            "dead": float((counts == 0).float().mean()),
            "saturated": float((counts == 1).float().mean()),
            "nJ": energy_of(self, rate).nanojoule(),
        }

    # acting

    @torch.no_grad()
    def predict(
        self,
        obs: NDArray[Any],
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[Any] | bool | None = None,
        deterministic: bool = True,
        available: NDArray[Any] | None = None,
    ) -> tuple[NDArray[Any], tuple[NDArray[Any], ...]]:
        """Actions for observations; the signature of Stable-Baselines3.

        Args:
            obs: [N, O], or [O] for one environment; as the environment gives it. state: what the last call returned,
                None at the start. episode_start: [N], true where an episode begins: the past is then forgotten.
            deterministic: the most likely (most valued) action, or a drawn one. available: of teams alone, the mask
            [N, K, A] of actions that each agent has; None is all. Teams: obs [N, K, O], actions [N, K].
        Returns:
            actions, int [N] or float [N, A] in [-1, 1] (without N for one observation), and the state to pass on.
        Raises:
            ValueError: an observation of another size, or not finite; a state of another number of environments.
        """
        a = self.algorithm
        if isinstance(a, QMIX):
            action, after, self.last_output = a.predict(obs, state, episode_start, deterministic, available)
            return action, after
        obs = np.asarray(obs, np.float32)
        single = obs.ndim == 1
        rows = obs[None] if single else obs
        if rows.ndim != 2 or rows.shape[1] != a.net.obs_size:
            raise ValueError(
                f"obs has shape {obs.shape}, the agent was trained on observations of {a.net.obs_size} numbers"
            )
        if not np.isfinite(rows).all():
            bad = int(np.flatnonzero(~np.isfinite(rows).all(-1))[0])
            raise ValueError(f"observation of environment {bad} is {rows[bad].tolist()}; observations must be finite")
        n = len(rows)
        if state is None:
            memory, previous = a.net.init_state(n), torch.zeros(n, a.net.act_size)
        else:
            memory, previous = (torch.from_numpy(np.asarray(s, np.float32)) for s in state)
            if memory.shape[1] != n:
                raise ValueError(
                    f"state is of {memory.shape[1]} environments, obs of {n}; pass None to start, or matching rows"
                )
        start = np.zeros(n, bool) if episode_start is None else np.broadcast_to(np.asarray(episode_start, bool), (n,))
        keep = torch.from_numpy(~start).float()
        previous = previous * keep[:, None]
        seen = torch.from_numpy(a.scale(rows))
        out, memory = a.net.remember(seen[None], previous[None], memory, keep[None])
        heads = a.net.decide(out, seen[None])
        action = a.greedy(tuple(h[0] for h in heads), deterministic)
        self.last_output = a.spikes(out, memory).numpy()
        seen_next = one_hot(action, a.env.actions)
        return (action[0] if single else action), (memory.numpy(), seen_next.numpy())

    # storing

    def save(self, path: str | Path) -> Path:
        """Everything into one file (npz with JSON inside, no pickle): weights, optimiser, replay, random states."""
        return checkpoint.write(path, {"config": self.config, "algorithm": self.algorithm.get_state()})

    @classmethod
    def load(cls, path: str | Path, env: VecEnv | str | None = None) -> Agent:
        """The agent as it was saved; training goes on bit for bit where the environments can store their state.

        Args:
            path: of a checkpoint. env: environments to go on in, where the agent was not created by name, or another
                name of the same shape.
        Raises:
            FileNotFoundError; ValueError: not a checkpoint, or one from another environment.
        """
        told = checkpoint.read(path)
        config = told["config"]
        name = env if isinstance(env, str) else config["env"]
        if isinstance(env, VecEnv):
            built = env
        elif name is None:
            raise ValueError(f"{path} was trained in an environment of your own; pass it: Agent.load(path, env=...)")
        else:
            built = ALGORITHMS[config["algo"]].make_env(name, config["num_envs"], **config["env_options"])
        if built.shape != config["shape"] or built.num_envs != config["num_envs"]:
            raise ValueError(
                f"{path} comes from {config['env'] or 'an environment'} ({_told(config['shape'])}, "
                f"{config['num_envs']} "
                f"at once), {built.name} has {_told(built.shape)}, {built.num_envs} at once; pass the environment it "
                "was trained in"
            )
        agent = cls.create(
            built, config["algo"], config["memory"], config["seed"], memory_options=config["memory_options"],
            **config["settings"],
        )  # fmt: skip
        agent.config = {**config, "env": name}
        agent.algorithm.set_state(told["algorithm"])
        return agent

    # environments

    def make_env(self, num_envs: int, name: str | None = None) -> VecEnv:
        """Environments of the agent's kind, or of another name."""
        name = name or self.config["env"]
        if name is None:
            raise ValueError("the agent was trained in an environment of your own; pass env=...")
        return self.algorithm.make_env(name, num_envs, **self.config["env_options"])

    def check_env(self, env: VecEnv) -> None:
        """ValueError where the environment's shape is not the one trained on."""
        if env.shape != self.config["shape"]:
            raise ValueError(
                f"{env.name} has {_told(env.shape)}, the agent was trained on "
                f"{_told(self.config['shape'])}; evaluate "
                "it in environments of that shape"
            )

    def __repr__(self) -> str:
        c = self.config
        return f"Agent({c['env']!r}, {c['algo']!r}, {c['memory']!r}, seed={c['seed']}, steps={self.steps})"


def _told(shape: list[int | None]) -> str:
    actions = f"{shape[1]} actions" if shape[1] is not None else f"{shape[2]} continuous actions"
    team = f", {shape[3]} agents" if len(shape) > 3 else ""
    return f"observations of {shape[0]} numbers, {actions}{team}"


def _bar(goal: int, done: int, progress: bool) -> Any:
    from tqdm import tqdm

    # None: silent where the output is not a terminal
    return tqdm(total=goal, initial=done, unit="step", unit_scale=True, disable=None if progress else True)


def _nothing() -> Any:
    from contextlib import nullcontext

    return nullcontext()
