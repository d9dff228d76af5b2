"""How much of what noise leaves do models of V1 explain, on synthetic regions with a known ceiling?

    python bench/best_models.py --out FOLDER               exit status 1 if a bound is missed
    python bench/best_models.py --out FOLDER --sets low    the nearly noiseless set only
    python bench/best_models.py --out FOLDER --only LNLN   these models
    python bench/best_models.py --out FOLDER --quick       tiny data, two epochs: does it run?
    python bench/best_models.py --out FOLDER --markdown

Sets: "low" has 40 neurons, 900 images, little noise (ceiling .93); "region1" is the first region of
`make data`. The share of the ceiling is the mean correlation over neurons with the mean response to
50 validation images, over the mean of the exact ceilings.

Validation images choose nothing. Of each model in several forms (bench/best_models_forms.py) three
seeds are trained on four fifths of the training rows, and the form with the best median correlation
on the fifth is trained again, from other seeds, on all training rows. Ensembles are the mean rates
of the repetitions, and of five repetitions of each model but the baseline.

What is finished is kept in FOLDER (`results.json`, models as `.ndnmod`, data), and the same call
goes on after an interruption. A result is forgotten when its form has changed.
"""

import argparse
import functools
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
from best_models_forms import EPOCHS, MODELS
from tables import say, text

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

BASELINE, JUDGED = "baseline 4", "bounded HSM"
BOUND = 0.8
# Seeds that choose are not those whose results are shown
CHOOSING, SHOWN = (100, 101, 102), range(10)
HELD_OUT = 0.2
QUICK_EPOCHS = 2
FROM_EACH = 5  # models of each kind in the ensemble of all


class Bench:
    """What is kept of one set of recordings, and how to get what is missing.

    Parameters
    ----------
    folder : path
    set_name : str
        One of `SETS`.
    quick : bool
    """

    def __init__(self, folder, set_name, quick):
        self.folder = Path(folder) / (f"{set_name}-quick" if quick else set_name)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.quick = quick
        self.training, self.validation, self.ceiling = recording(self.folder, set_name, quick)
        self.results = self.folder / "results.json"
        self.kept = json.loads(self.results.read_text()) if self.results.exists() else {}

    def once(self, key, asked, found, file=None):
        """What was found before for the same question, or is found now."""
        old = self.kept.get(key)
        if old and old["asked"] == asked and (file is None or file.exists()):
            say(f"{self.folder.name}: {key}: kept")
            return old["found"]
        say(f"{self.folder.name}: {key} …")
        began, cpu = time.monotonic(), time.process_time()
        value = found()
        value |= {"seconds": time.monotonic() - began, "cpu": time.process_time() - cpu}
        say(f"{self.folder.name}: {key}: {value}")
        self.kept[key] = {"asked": asked, "found": value}
        aside = self.results.with_suffix(".new")
        aside.write_text(json.dumps(self.kept, indent=1))
        aside.replace(self.results)
        return value

    def asked(self, form, seeds):
        """All that a training follows from."""
        description = form.description(self.training.n_neurons)
        return json.loads(json.dumps([description, self.options(form), list(seeds)]))

    def options(self, form):
        """Options of a training."""
        found = {"batch_size": 16, "learning_rate": 1e-3, "epochs_training": EPOCHS, **form.options}
        return found | ({"epochs_training": QUICK_EPOCHS} if self.quick else {})

    def trained(self, form, seeds, rows):
        """Ensemble of the models of some seeds, trained on some rows together."""
        from NDN3.ensembles import Ensemble
        from NDN3.NDN import NDN

        return Ensemble.of_trained(
            NDN.fit_together(
                NDN.for_seeds(form.description(self.training.n_neurons), seeds=seeds),
                self.training.images,
                self.training.responses,
                rows,
                opt_params=self.options(form),
                progress=Progress(),
                # compiling takes longer than two epochs
                xla=False if self.quick else "auto",
            )
        )

    def chosen(self, name):
        """The form of a model that does best on the inner hold-out."""
        from NDN3.folds import inner_holdout

        forms = MODELS[name].forms
        if len(forms) == 1:
            return forms[0]
        rows, held_out = inner_holdout(np.arange(self.training.n_images), HELD_OUT, seed=0)

        def tried(form):
            models = self.trained(form, CHOOSING, rows).models
            return {"held out": [correlation(each, self.training, held_out) for each in models]}

        scores = []
        for form in forms[:2] if self.quick else forms:
            found = self.once(
                f"{name}, choosing, {form.name}",
                self.asked(form, CHOOSING),
                functools.partial(tried, form),
            )
            scores.append(np.median(found["held out"]))
        return forms[int(np.argmax(scores))]

    def judged(self, name):
        """The chosen form, the correlations of its repetitions, and of their ensemble."""
        form = self.chosen(name)
        seeds = SHOWN[: 2 if self.quick else MODELS[name].repetitions]
        file = self.ensemble_file(name)

        def shown():
            ensemble = self.trained(form, seeds, np.arange(self.training.n_images))
            ensemble.save_model(file)
            models = ensemble.models
            return {
                "correlations": [correlation(each, self.validation) for each in models],
                "ensemble": correlation(ensemble, self.validation),
            }

        return form, self.once(f"{name}, {form.name}", self.asked(form, seeds), shown, file)

    def ensemble_file(self, name):
        """Where the repetitions of a model are."""
        return self.folder / f"{name.replace(' ', '_')}.ndnmod"

    def all_together(self, names):
        """Correlation of the mean of the first repetitions of some models."""
        from NDN3.ensembles import Ensemble

        models = [
            model
            for name in names
            for model in Ensemble.load_model(self.ensemble_file(name)).models[:FROM_EACH]
        ]
        return correlation(Ensemble(models), self.validation)


class Progress:
    """A line on the error stream every half minute."""

    def __init__(self):
        self.last = time.monotonic()

    def __call__(self, done, whole, line):
        if time.monotonic() - self.last > 30:
            self.last = time.monotonic()
            say(f"    {done} of {whole} epochs; {line}")


def recording(folder, set_name, quick):
    """Training and validation data of a set, and its mean ceiling; made where they are not."""
    from utils import data, make_data

    size, noise = {
        "low": (make_data.Published(40, 900, 50, 4, seed=7), "low"),
        "region1": (make_data.REGIONS[1], "realistic"),
    }[set_name]
    if quick:
        size = size._replace(n_neurons=10, n_training=60, n_validation=20)
    # beside the results, so that recordings of one's own are not taken for synthetic ones
    os.environ["BENCH_DATA"] = str(folder / "data")
    make_data.ensure_region(folder / "data" / "region1", size, noise)
    training, validation = data.load_regions([1], images="normalize_mean_std")
    return training, validation, data.noise_ceiling(validation).planted.mean()


def correlation(model, recorded, rows=None):
    """Mean correlation of prediction and response over neurons."""
    from NDN3.correlation import pearson

    rows = np.arange(recorded.n_images) if rows is None else rows
    predicted = model.generate_prediction(recorded.images, rows)
    return float(np.mean(pearson(recorded.responses[rows], predicted)[0]))


def share(values, ceiling):
    """Median, 10th and 90th percentile of shares of the ceiling."""
    low, middle, high = np.percentile(np.asarray(values) / ceiling, [10, 50, 90])
    return low, middle, high


def table(bench, names):
    """Rows of a table, and percentiles of the models."""
    rows = [["model", "form", "repetitions", "median (10th, 90th)", "their ensemble", "CPU s"]]
    shares = {}
    for name in names:
        form, found = bench.judged(name)
        low, middle, high = shares[name] = share(found["correlations"], bench.ceiling)
        rows.append(
            [
                *(name, form.name, str(len(found["correlations"]))),
                f"{middle:.3f} ({low:.3f}, {high:.3f})",
                f"{found['ensemble'] / bench.ceiling:.3f}",
                f"{found['cpu']:.0f}",
            ]
        )
    others = [name for name in names if name != BASELINE]
    if len(others) > 1:
        together = bench.all_together(others) / bench.ceiling
        count = min(FROM_EACH, 2) if bench.quick else FROM_EACH
        rows.append(["all but the baseline", f"{count} of each", "", "", f"{together:.3f}", ""])
    return rows, shares


def reached(shares):
    """Whether the bounds hold, as a sentence, and as a bool."""
    _, middle, _ = shares[JUDGED]
    bounds = {f"{JUDGED} reaches {BOUND} of the ceiling": middle >= BOUND}
    if BASELINE in shares:
        worst, best = shares[JUDGED][0], shares[BASELINE][2]
        bounds[f"its 10th percentile is above the 90th of {BASELINE}"] = worst > best
    sentence = "; ".join(f"{what}: {'yes' if held else 'MISSED'}" for what, held in bounds.items())
    return sentence, all(bounds.values())


def main():
    parser = argparse.ArgumentParser(
        description="Models of V1: their share of the known ceiling on synthetic regions."
    )
    sets = ("low", "region1")
    parser.add_argument("--out", required=True, help="folder of data, models and results")
    parser.add_argument("--sets", default="low,region1", help="which (low,region1)")
    parser.add_argument("--only", default=",".join(MODELS), help=f"models ({', '.join(MODELS)})")
    parser.add_argument("--quick", action="store_true", help="tiny data, two epochs; no judgement")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    options = parser.parse_args()
    wanted, names = options.sets.split(","), options.only.split(",")
    for kind, given, known in (("sets", wanted, sets), ("models", names, MODELS)):
        if unknown := [each for each in given if each not in known]:
            parser.error(f"unknown {kind} {', '.join(unknown)}; known are {', '.join(known)}")
    holds = True
    for set_name in wanted:
        bench = Bench(options.out, set_name, options.quick)
        rows, shares = table(bench, names)
        print(f"{set_name}: mean ceiling {bench.ceiling:.3f}\n")
        print(text(rows, options.markdown), flush=True)
        # on the noisy region there is no bound, only the report
        if JUDGED in shares and set_name == "low" and not options.quick:
            sentence, held = reached(shares)
            holds &= held
            print(f"\n{sentence}")
        print()
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
