"""A run whose processes are killed over and over comes out as if nothing had happened.

    fault_storm.py --kills 100 --seed 1 --model quickstart

Two ranks train. kill -9 strikes one of them at random, in each of PHASES in turn: within a save faults.c, preloaded, finds the
moment; steps are struck from outside. In the phase `stop` both get SIGTERM instead, and no step may be lost. After every kill only sound checkpoints may be on offer, the next start must resume from the
newest, and at most one interval may be lost. Once the run is through, its losses and its last checkpoint must equal, bit for
bit, those of a run that was left alone; then it begins anew, until there were enough kills.

CTest sets SISA_BINARY and SISA_FAULTS, the library made of faults.c.
"""
import argparse
import collections
import random
import sys
import time

from harness import *

PHASES = ("steps", "copy", "write", "rename", "amend", "prune", "stop")
MODELS = {  # changes of the harness's recipe; steps between checkpoints; steps of the run; writes of a rank in a save
    "tiny": ({}, 8, 100, 60),
    "quickstart": ({"d_model": 128, "num_layers": 4, "num_heads": 4, "d_state": 16, "d_ff": 320}, 8, 200, 110),
}


class Storm:
    def __init__(self, folder, recipe, model, seed):
        self.folder, self.draw = folder, random.Random(seed)
        changes, self.every, self.steps, self.writes = MODELS[model]
        settings = {**{f"model.{key}": value for key, value in changes.items()}, "checkpoint.every": f"{self.every} steps",
                    "checkpoint.keep_last": 2, "train.max_tokens": f"{384 * self.steps} tokens", "evaluation.every": f"{self.every} steps", "log.every": 1000}
        self.train = [BINARY, "train", str(recipe), *(part for key, value in settings.items() for part in ("--set", f"{key}={value}"))]
        self.kills = collections.Counter()  # by phase
        self.lost = []                      # steps, by kill

    def start(self, name, plan=""):
        pids = self.folder / "pids"
        shutil.rmtree(pids, ignore_errors=True)
        pids.mkdir()
        environment = {"LD_PRELOAD": preloadable(self.folder), "SISA_FAULT_LOG": self.folder / "log", "SISA_FAULT_PIDS": pids,
                       "SISA_FAULT_CHECKPOINTS": self.folder / name / "checkpoints", "SISA_FAULT_KILL": plan}
        return subprocess.Popen(["mpirun", "-n", "2", "env", *(f"{key}={value}" for key, value in environment.items()), *self.train,
                                 "--output", str(self.folder / name)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def records(self, name):
        metrics = self.folder / name / "metrics.jsonl"
        return [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.exists() else []

    def losses(self, name):
        return {r["step"]: r["loss"] for r in self.records(name) if "event" not in r}  # of a repeated step the later one

    def last(self, name, event=None):
        """The step of the latest record."""
        return next((r["step"] for r in reversed(self.records(name)) if r.get("event") == event), 0)

    def reported(self, name, checkpoint):
        """The step after which training learned that the checkpoint was written; without one, that of the kill."""
        step = 0
        for record in self.records(name):
            if record.get("event") == "checkpoint" and record["step"] == checkpoint:
                return step
            step = record["step"] if "event" not in record else step
        return step if checkpoint else 0

    def unfinished(self, name):
        return [p.name for p in (self.folder / name / "checkpoints").glob("step-*.tmp-*")]

    def plan(self, phase):
        """"PHASE:N:VICTIM:BY", as faults.c takes it; N reaches into the second save."""
        events = {"copy": 8, "write": 2 * self.writes, "rename": 8, "amend": 8, "prune": 12}[phase]
        by = self.draw.randint(0, 1) if phase in ("copy", "write") else 0  # the root alone renames and deletes
        return f"{phase}:{self.draw.randint(1, events)}:{self.draw.randint(0, 1)}:{by}"

    def strike_steps(self, name, process):
        """Kills a rank between saves: both are stopped, and go on if a save is under way."""
        step = self.last(name) + self.draw.randint(1, 2 * self.every)
        if step >= self.steps:
            return
        wait_for_step(self.folder / name / "metrics.jsonl", step)
        ranks = [int((self.folder / "pids" / str(rank)).read_text()) for rank in (0, 1)]
        victim = self.draw.randint(0, 1)
        while True:
            time.sleep(self.draw.uniform(0, 0.05))
            try:
                for rank in ranks:
                    os.kill(rank, signal.SIGSTOP)
                between_saves = not self.unfinished(name)
                if between_saves:
                    (self.folder / "log").write_text(f"{victim} steps {self.last(name)} -\n")
                    os.kill(ranks[victim], signal.SIGKILL)
                for rank in ranks:
                    os.kill(rank, signal.SIGCONT)
            except ProcessLookupError:
                return  # the run has ended
            if between_saves:
                return

    def stop(self, name):
        """Sends SIGTERM to both ranks, in a step, a save or an evaluation."""
        step = self.last(name) + self.draw.randint(1, 2 * self.every)
        if step >= self.steps:
            return
        wait_for_step(self.folder / name / "metrics.jsonl", step)
        time.sleep(self.draw.uniform(0, 0.1))
        (self.folder / "log").write_text(f"0 stop {self.last(name)} -\n")
        for rank in (0, 1):
            try:
                os.kill(int((self.folder / "pids" / str(rank)).read_text()), signal.SIGTERM)
            except ProcessLookupError:
                pass  # the run has ended

    def train_until_killed(self, name, phase):
        """Whether the run was killed; it has ended otherwise."""
        log = self.folder / "log"
        log.write_text("")
        process = self.start(name, "" if phase in (None, "steps", "stop") else self.plan(phase))
        if phase == "steps":
            self.strike_steps(name, process)
        if phase == "stop":
            self.stop(name)
        output, _ = process.communicate(timeout=TIMEOUT)
        strikes = log.read_text().splitlines()
        if phase == "stop" and process.returncode == 0:
            return False  # it had ended already
        assert bool(strikes) != (process.returncode == 0), f"{strikes}, exit status {process.returncode}:\n{output}"
        if strikes:
            self.kills[phase] += 1
            print(f"{sum(self.kills.values()):>3}  step {self.last(name):>3}  rank {strikes[0].replace(str(self.folder), '')}", flush=True)
        return bool(strikes)

    def check_after_kill(self, name, phase):
        """Only sound checkpoints are on offer, and no more than one interval is lost."""
        listed = run("checkpoint", "list", self.folder / name).stdout
        assert "not usable" not in listed, listed
        steps = [int(line.split()[1]) for line in listed.splitlines() if line.startswith("step")]
        for verifying in [start("checkpoint", "verify", f"{self.folder / name}@{step}") for step in steps]:
            text = "".join(verifying.communicate(timeout=TIMEOUT))
            assert verifying.returncode == 0, text
        newest, reached = max(steps, default=0), self.last(name)
        if phase == "stop":
            assert newest == reached, f"{reached} steps were done and {newest} are saved, though the run had time to save"
        assert newest >= self.last(name, "checkpoint"), "a checkpoint that was reported is gone"
        self.lost.append(reached - newest)
        # Within a save: the interval and the steps that went by while it was written, here less than another interval. Between saves:
        # the interval, or as many steps as the newest took to be written, during which the next fell due and waited.
        limit = 2 * self.every
        if phase == "steps":
            limit = min(limit, max(self.every, self.reported(name, newest) - newest + 1))
        assert reached - newest <= limit, f"{reached - newest} steps are lost: {reached} were done, {newest} are saved"
        return newest

    def check_resumed(self, name, newest):
        assert not [r for r in self.records(name) if r.get("event") == "skipped_checkpoint"]
        if newest:
            assert self.last(name, "resume") == newest, "resumed from elsewhere than the newest checkpoint"

    def check_equal(self, name):
        assert self.losses(name) == self.losses("calm"), "other losses than those of a run never killed"
        compared = run("checkpoint", "diff", self.folder / name, self.folder / "calm")
        assert compared.returncode == 0, compared.stdout + compared.stderr
        assert not self.unfinished(name), "something was left"
        print(f"{name}: equals the run that was never killed, bit for bit", flush=True)

    def rage(self, kills):
        self.train_until_killed("calm", None)
        laps = killed = 0
        while killed or sum(self.kills.values()) < kills:
            name, newest = f"lap-{laps}", 0
            while True:
                wanted = [phase for phase in PHASES if self.kills[phase] < -(-kills // len(PHASES))]
                phase = self.draw.choice(wanted) if wanted else None
                killed = self.train_until_killed(name, phase)
                self.check_resumed(name, newest)
                if not killed:
                    break
                newest = self.check_after_kill(name, phase)
            self.check_equal(name)
            laps += 1
        print(f"{sum(self.kills.values())} kills in {laps} runs of {self.steps} steps: {dict(self.kills)}; "
              f"steps lost by a kill: {sum(self.lost) / len(self.lost):.1f} on average, {max(self.lost)} at most; saved every {self.every}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", choices=MODELS, help="quickstart, or for fewer than 50 kills tiny")
    arguments = parser.parse_args()
    model = arguments.model or ("tiny" if arguments.kills < 50 else "quickstart")
    began = time.time()
    ProgramTest.setUpClass()
    try:
        Storm(ProgramTest.shared, ProgramTest.recipe, model, arguments.seed).rage(arguments.kills)
    finally:
        ProgramTest.tearDownClass()
    print(f"seed {arguments.seed}, {time.time() - began:.0f} s")


if __name__ == "__main__":
    main()
