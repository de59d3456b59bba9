"""The command ``grsn-rl``: train, resume, eval, compare, plot, energy, envs, bench."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False)

Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
Env = Annotated[str, typer.Option(help="Environment; `grsn-rl envs` lists the names.")]
Algo = Annotated[str, typer.Option(help="ppo, drqn, sac, sac-discrete, td3; for teams qmix or vdn.")]
Memory = Annotated[str, typer.Option(help="grsn, lif, gru, lstm, none or grsn-notap.")]
Seed = Annotated[int, typer.Option(help="Decides weights, episodes and actions.")]
Steps = Annotated[int, typer.Option(help="Environment steps in all.")]
Threads = Annotated[int, typer.Option(help="Threads of PyTorch; networks this small want one.")]
Preset = Annotated[str | None, typer.Option(help="Settings by name, such as paper for sac.")]
Setting = Annotated[list[str] | None, typer.Option("--set", help="A setting of the algorithm, NAME=VALUE; repeatable.")]
EvalEvery = Annotated[
    int, typer.Option(help="Steps between evaluations: the column greedy_return of metrics.csv. 0: none.")
]
Episodes = Annotated[int, typer.Option(help="Greedy episodes.")]


def _settings(words: list[str] | None) -> dict[str, Any]:
    found = {}
    for word in words or []:
        name, equals, text = word.partition("=")
        if not equals:
            raise ValueError(f"--set {word} given; expected NAME=VALUE, such as --set lr=1e-3")
        try:
            found[name.strip()] = json.loads(text)
        except json.JSONDecodeError:
            found[name.strip()] = text
    return found


def _show(told: dict[str, Any], text: str, as_json: bool) -> None:
    typer.echo(_plain(told) if as_json else text)


def _threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)


def _learn(agent: Any, steps: int, out: Path, eval_every: int = 0) -> None:
    try:
        agent.learn(steps, run=out, total=True, eval_every=eval_every)
    except KeyboardInterrupt:
        typer.echo(f"interrupted at {agent.steps} steps; `grsn-rl resume {out} --steps {steps}` goes on", err=True)
        raise typer.Exit(130) from None


def _finish(agent: Any, steps: int, out: Path, eval_every: int, as_json: bool) -> None:
    """Train to so many steps, play twenty greedy episodes, and leave what they gave in results.json."""
    from grsn_rl import evaluate
    from grsn_rl.runs import write_whole

    _learn(agent, steps, out, eval_every)
    result = evaluate(agent, episodes=20)
    told = {"run": str(out), "steps": agent.steps, **result.to_dict()}
    write_whole(out / "results.json", _plain(told) + "\n")
    _show(told, f"{out}: {result}", as_json)


def _plain(told: dict[str, Any]) -> str:
    return json.dumps({k: None if v != v else v for k, v in told.items()})


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"grsn-rl {version('grsn-rl')}")
        raise typer.Exit


@app.callback()
def _command(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Recurrent spiking agents where a GRU was."""


@app.command()
def train(
    env: Env = "CartPole-P",
    algo: Algo = "ppo",
    memory: Memory = "grsn",
    steps: Steps = 200_000,
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder; runs/ENV-ALGO-MEMORY-SEED by default.")
    ] = None,
    num_envs: Annotated[int | None, typer.Option(help="Environments at once.")] = None,
    preset: Preset = None,
    settings: Setting = None,
    eval_every: EvalEvery = 0,
    threads: Threads = 1,
    as_json: Json = False,
) -> None:
    """Train an agent in a run folder: config.json, metrics.csv, tb/, checkpoints/last.npz, results.json."""
    from grsn_rl import Agent

    _threads(threads)
    given = _settings(settings)
    if algo == "ppo":
        given.setdefault("anneal_steps", steps)
    agent = Agent.create(env, algo, memory, seed, num_envs=num_envs, preset=preset, **given)
    folder = out or Path("runs") / f"{env}-{algo}-{memory}-{seed}".replace(":", "-")
    _finish(agent, steps, folder, eval_every, as_json)


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    steps: Steps = 200_000,
    eval_every: EvalEvery = 0,
    threads: Threads = 1,
    as_json: Json = False,
) -> None:
    """Go on with a run, bit for bit, until it has so many steps in all."""
    from grsn_rl import Agent
    from grsn_rl.runs import LAST

    _threads(threads)
    _finish(Agent.load(run / LAST), steps, run, eval_every, as_json)


@app.command("eval")
def eval_(
    run: Annotated[Path, typer.Argument(help="Run folder or checkpoint.")],
    episodes: Episodes = 100,
    seed: Annotated[int, typer.Option(help="Of the environments.")] = 10_000,
    env: Annotated[str | None, typer.Option(help="Another environment of the same shape.")] = None,
    as_json: Json = False,
) -> None:
    """Greedy episodes: return with its interval, firing, energy; a row in the run's eval.csv."""
    from grsn_rl import Agent, evaluate
    from grsn_rl.runs import LAST, write_whole

    _threads(1)
    agent = Agent.load(run / LAST if run.is_dir() else run)
    result = evaluate(agent, env, episodes, seed=seed)
    told = {"steps": agent.steps, "seed": seed, **result.to_dict()}
    if run.is_dir():
        path = run / "eval.csv"
        before = path.read_text() if path.is_file() else ",".join(told) + "\n"
        write_whole(path, before + ",".join(map(str, told.values())) + "\n")
    _show(told, str(result), as_json)


@app.command()
def compare(
    env: Annotated[str, typer.Option(help="Environments, separated by commas.")] = "CartPole-P",
    algo: Annotated[str, typer.Option(help="Algorithms, separated by commas.")] = "ppo",
    memories: Annotated[str, typer.Option(help="Names, separated by commas.")] = "grsn,gru",
    steps: Steps = 100_000,
    seeds: Annotated[int, typer.Option(help="Runs of each.")] = 1,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the runs.")] = Path("runs/compare"),
    threads: Threads = 1,
    as_json: Json = False,
) -> None:
    """Train environments, algorithms and memories alike; return and energy side by side. Finished runs are kept."""
    from itertools import product

    from grsn_rl import Agent, evaluate
    from grsn_rl.runs import LAST

    _threads(threads)
    rows: list[dict[str, Any]] = []
    for task, kind, memory, seed in product(env.split(","), algo.split(","), memories.split(","), range(seeds)):
        folder = out / f"{task}-{kind}-{memory}-{seed}".replace(":", "-")
        if (folder / LAST).is_file():
            agent = Agent.load(folder / LAST)
        else:
            more = {"anneal_steps": steps} if kind == "ppo" else {}
            agent = Agent.create(task, kind, memory, seed, **more)  # type: ignore[arg-type]
        _learn(agent, steps, folder)
        told = evaluate(agent, episodes=50).to_dict()
        rows.append({"env": task, "algo": kind, "memory": memory, "seed": seed, **told})
    if as_json:
        typer.echo(json.dumps([{k: None if v != v else v for k, v in row.items()} for row in rows]))
        return
    wide = max(len(row["env"]) for row in rows) + 2
    typer.echo(f"{'env':<{wide}}{'algo':<14}{'memory':<12}{'seed':>5}{'return':>9}{'rate':>7}{'nJ/step':>10}")
    for row in rows:
        typer.echo(
            f"{row['env']:<{wide}}{row['algo']:<14}{row['memory']:<12}{row['seed']:>5}{row['mean']:>9.1f}"
            f"{row['firing_rate']:>7.2f}{row['energy_nJ']:>10.1f}"
        )


@app.command()
def plot(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; those that differ only in seed share a curve.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Picture to write (png, svg, pdf).")] = Path("curves.png"),
    metric: Annotated[str, typer.Option(help="Column of metrics.csv.")] = "return",
    as_json: Json = False,
) -> None:
    """Learning curves: interquartile mean over seeds with a bootstrap band; each with its energy per decision."""
    from grsn_rl.plot import curves
    from grsn_rl.runs import read_metrics

    groups: dict[str, list[Path]] = {}
    for run in runs:
        if not (run / "config.json").is_file():
            raise ValueError(f"{run} is not a run folder: it has no config.json")
        config = json.loads((run / "config.json").read_text())
        groups.setdefault(f"{config['env']} {config['algo']} {config['memory']}", []).append(run)
    # the energy of a decision beside every curve
    spent = {
        label: sum(read_metrics(run)[-1].get("nJ", float("nan")) for run in runs) / len(runs)
        for label, runs in groups.items()
    }
    curves({f"{label}, {spent[label]:.0f} nJ": runs for label, runs in groups.items()}, metric).figure.savefig(
        out, dpi=120
    )
    _show({"picture": str(out), **spent}, f"{out} written", as_json)


@app.command()
def energy(
    memory: Memory = "grsn",
    inputs: Annotated[int, typer.Option(help="Width of the memory's input.")] = 48,
    hidden: Annotated[int, typer.Option(help="Neurons.")] = 128,
    rate: Annotated[float, typer.Option(help="Spikes per neuron and step.")] = 0.3,
    obs: Annotated[int, typer.Option(help="Numbers per observation.")] = 4,
    actions: Annotated[int, typer.Option(help="Actions.")] = 2,
    as_json: Json = False,
) -> None:
    """nJ of one decision, part by part, with the assumptions."""
    from grsn_rl import agent_energy

    if not 0 <= rate <= 1:
        raise ValueError(f"rate={rate} given; a firing rate lies in [0, 1]")
    report = agent_energy(memory, obs=obs, act=actions, outputs=actions, hidden=hidden, embed=inputs, rate=rate)
    told = {name: report.nanojoule(name) for name in report.parts} | {"total": report.nanojoule()}
    _show(told, str(report), as_json)


@app.command("envs")
def envs_(as_json: Json = False) -> None:
    """Environments by name."""
    from grsn_rl import envs, teams

    told = envs.describe() | teams.describe()
    _show(told, "\n".join(f"{name:<24}{text}" for name, text in told.items()), as_json)


@app.command()
def bench(
    steps: Annotated[int, typer.Option(help="Steps per sequence.")] = 64,
    batch: Annotated[int, typer.Option(help="Sequences.")] = 32,
    inputs: Annotated[int, typer.Option(help="Input width.")] = 48,
    hidden: Annotated[int, typer.Option(help="Neurons.")] = 128,
    rounds: Annotated[int, typer.Option(help="Timed rounds; the median is shown.")] = 7,
    as_json: Json = False,
) -> None:
    """Time GRSN against nn.GRU and nn.LSTM on this machine, one thread: a sequence both ways, and one acting step."""
    from grsn_rl._bench import compare_cells

    if min(steps, batch, inputs, hidden, rounds) < 1:
        raise ValueError("steps, batch, inputs, hidden and rounds must be at least 1")
    rows = compare_cells(steps, batch, inputs, hidden, rounds)
    if as_json:
        typer.echo(json.dumps(rows))
        return
    typer.echo(f"T={steps}, B={batch}, I={inputs}, H={hidden}, float32, one thread")
    for row in rows:
        typer.echo(
            f"{row['name']:<10}{row['sequence_ms']:>10.2f} ms forward + backward{row['step_us']:>10.1f} us one step"
        )


def main() -> None:
    """Entry point: our own errors are one line on stderr and exit code 2."""
    try:
        app()
    except (ValueError, TypeError, ImportError, OSError, NotImplementedError) as error:
        print(f"grsn-rl: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None
