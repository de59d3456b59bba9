"""Train CartPole that sees positions alone, with a gated spiking memory and with a GRU: return, energy, both curves.

    python examples/quickstart.py --out demo

The two take turns, a rollout each, until the time is up (about 30 seconds on two cores, compiling included), and are
then judged over 100 greedy episodes of environments they have not seen.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from grsn_rl import Agent, evaluate
from grsn_rl.energy import ASSUMPTIONS
from grsn_rl.evaluate import energy_of
from grsn_rl.plot import curves
from grsn_rl.runs import Run

STEPS = 150_000  # at most, each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=Path("demo"), help="folder for the figure, result.json and the runs"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="of training, both together")
    args = parser.parse_args()
    out: Path = args.out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # networks this small only lose by more
    begin = time.perf_counter()
    agents = {memory: Agent.create("CartPole-P", "ppo", memory, seed=0) for memory in ("grsn", "gru")}
    folders = {}
    for memory, agent in agents.items():
        folder = out / "runs" / f"{memory}-0"
        for old in ("config.json", "metrics.csv", "checkpoints/last.npz"):
            (folder / old).unlink(missing_ok=True)
        folders[memory] = folder
        agent.learn(1, progress=False, run=Run(folder, agent, tensorboard=False))  # one rollout: compiles the kernels
    rollout = agents["grsn"].steps
    turns = 0
    while time.perf_counter() - begin < args.seconds and agents["grsn"].steps < STEPS:
        turns += 1
        for memory, agent in agents.items():
            agent.learn(
                rollout, progress=False, run=Run(folders[memory], agent, tensorboard=False), checkpoint_every=1e9
            )
        if turns % 8 == 0:
            returns = ", ".join(
                f"{m} {sum(a.algorithm.returns) / max(1, len(a.algorithm.returns)):.0f}" for m, a in agents.items()
            )
            print(
                f"{agents['grsn'].steps:>7} steps each: return {returns}   {time.perf_counter() - begin:.0f} s",
                flush=True,
            )
    results = {memory: evaluate(agent, episodes=100) for memory, agent in agents.items()}
    for memory, result in results.items():
        print(f"{memory:<5} {result}")
        for part, (mac, ac) in energy_of(agents[memory], result.firing_rate).parts.items():
            print(f"      {part:<10}{mac:>8.0f} MAC {ac:>8.0f} AC per step")
    print(ASSUMPTIONS)
    axes = curves({memory: [folder] for memory, folder in folders.items()})
    axes.set_title("CartPole, positions alone: 200 is the most there is")
    axes.figure.savefig(out / "curves.png", dpi=120)
    grsn, gru = results["grsn"], results["gru"]
    seconds = time.perf_counter() - begin
    told = {
        "system": "recurrent spiking agents",
        "ran": f"CartPole-P, recurrent PPO, {agents['grsn'].steps:,} steps each, one seed",
        "result": f"return GRSN {grsn.mean:.0f}, GRU {gru.mean:.0f} of 200; "
        f"{grsn.energy_nJ:.0f} against {gru.energy_nJ:.0f} nJ per step",
        "seconds": round(seconds, 1),
    }
    temporary = out / "result.json.tmp"
    temporary.write_text(json.dumps(told, indent=2) + "\n")
    temporary.replace(out / "result.json")
    print(f"{told['result']} ({seconds:.0f} s); curves.png and result.json are in {out}/")


if __name__ == "__main__":
    main()
