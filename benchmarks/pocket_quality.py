"""Quality of the shipped pocket models on clips of groups that pre-training never heard.

    python scripts/make_evaluation_sets.py ...       # once
    python benchmarks/pocket_quality.py              # all; or some of: size autoencoder clap captions probe speed
                                                     # steps duration

Prints one JSON line per figure. The generator itself is judged by `synthio evaluate t2a recipes/pocket-t2a.yaml`.
"""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from synthio import audio, metrics
from synthio.backends import pocket
from synthio.backends.clap import load_clap
from synthio.backends.clap_tagger import ClapTagger
from synthio.backends.classifier import Frontend, find_classifier, fit_frontend, fit_positions, load_classifier
from synthio.backends.diffusers_pipelines import load_pipeline
from synthio.backends.judge import train_judge
from synthio.backends.text_to_audio import TextToAudio
from synthio.bench.recipe import BenchRecipe, Cell, run_config
from synthio.config import CaptionConfig, ClapConfig, T2AConfig
from synthio.context import StageContext
from synthio.datasets.demo import demo_folder
from synthio.progress import Reporter
from synthio.recipes import load_recipe
from synthio.stages.clips import collect_clips
from synthio.store import StageFolder

RATE_HZ = 16_000
SETS = Path("work/evaluation")
SEEDS = range(5)
#: The first is the one that the filter compares with.
WORDINGS = ("Sound of a {}", "a {}", "{}", "a {} sound", "a recording of a {}")


def show(measure: str, value: float, **more: object) -> None:
    """One line."""
    print(json.dumps({"measure": measure, "value": round(float(value), 4), **more}), flush=True)


def read_set(name: str, split: str | None = None) -> tuple[list[audio.Waveform], list[str]]:
    """Clips (at most 5 s) and readable labels of one table."""
    with (SETS / f"{name}.csv").open(encoding="utf-8", newline="") as table:
        rows = [row for row in csv.DictReader(table) if split is None or row["split"] == split]
    waveforms = [audio.load(SETS / row["path"], RATE_HZ)[: 5 * RATE_HZ] for row in rows]
    return waveforms, [row["label"].replace("_", " ") for row in rows]


def draw(name: str, n: int, seed: int) -> dict[str, tuple[list[audio.Waveform], list[str]]]:
    """Waveforms and labels of ``n`` training clips and of the test clips, groups apart, as recipes/bench draws them."""
    bench = load_recipe(Path("recipes/bench/pocket.yaml"), [], BenchRecipe)
    config = run_config(bench, Cell(name, n, seed, "gold"))
    with TemporaryDirectory() as scratch:
        clips = collect_clips(StageContext(config, StageFolder(Path(scratch), "clips", "k"), Reporter()))
    return {
        split: (
            [audio.load(Path(clip.path), RATE_HZ)[: 5 * RATE_HZ] for clip in clips if clip.split == split],
            [clip.labels[0] for clip in clips if clip.split == split],
        )
        for split in ("train", "test")
    }


def size() -> None:
    """All weights that ship."""
    files = list(pocket.SHIPPED.rglob("*.safetensors"))
    show("shipped weights, MB", sum(path.stat().st_size for path in files) / 1e6)


def autoencoder() -> None:
    """Mean absolute log-mel error, 64 mel, 80 dB range, on demo test clips and on held-out percussion."""
    from synthio.backends.mel_codec import MelCodec
    from synthio.pretrain.autoencoder import reconstruction_error_db

    codec = MelCodec.from_pretrained(pocket.t2a_folder() / "vae", torch_dtype=torch.float32)
    demo = [audio.load(path, RATE_HZ) for path in sorted((demo_folder() / "test").rglob("*.ogg"))]
    show("autoencoder: log-mel error, demo test clips, dB", reconstruction_error_db(codec, demo, RATE_HZ))
    for name in ("instruments", "percussion"):
        clips = [audio.peak_normalise(clip) for clip in read_set(name)[0][::4]]
        show(f"autoencoder: log-mel error, {name}, dB", reconstruction_error_db(codec, clips, RATE_HZ))


def clap() -> None:
    """Zero-shot accuracy, mean over classes, over the 24 classes together, also by several wordings of each, and over
    each set's own classes."""
    model = load_clap(ClapConfig(), Reporter())
    sets = {name: read_set(name) for name in ("instruments", "percussion")}
    rows = {name: model.embed_audio(waveforms) for name, (waveforms, _) in sets.items()}
    every = sorted({label for _, labels in sets.values() for label in labels})

    def accuracies(name: str, classes: list[str], wordings: tuple[str, ...] = WORDINGS[:1]) -> list[float]:
        labels = np.array(sets[name][1])
        text = sum(model.embed_text([wording.format(label) for label in classes]) for wording in wordings)
        text = text / np.linalg.norm(text, axis=1, keepdims=True)
        right = np.array(classes)[(rows[name] @ text.T).argmax(axis=1)] == labels
        return [float(right[labels == label].mean()) for label in sorted(set(labels))]

    for name in sets:
        show(f"clap: zero-shot accuracy on {name}, among 24 classes", np.mean(accuracies(name, every)))
        show(
            f"clap: zero-shot accuracy on {name}, among its own", np.mean(accuracies(name, sorted(set(sets[name][1]))))
        )
    for wordings in (WORDINGS[:1], WORDINGS):
        means = [accuracy for name in sets for accuracy in accuracies(name, every, wordings)]
        show(f"clap: zero-shot accuracy, 24 classes, mean over classes, {len(wordings)} wordings", np.mean(means))


def captions() -> None:
    """How often the tagger hears a background: in clean clips, and in the same with an effect 9 to 24 dB below."""
    tagger = ClapTagger(load_clap(ClapConfig(), Reporter()), CaptionConfig().tags_per_clip)
    effects, generator = read_set("effects")[0], np.random.default_rng(0)
    for name in ("instruments", "percussion"):
        waveforms, labels = read_set(name)
        chosen = generator.permutation(len(waveforms))[:150]
        clean = [audio.peak_normalise(waveforms[i]) for i in chosen]
        mixed = [_mixed(clip, effects[int(generator.integers(len(effects)))], generator) for clip in clean]
        for kind, clips in (("clean", clean), ("mixed", mixed)):
            found = tagger.caption(clips, [(labels[i],) for i in chosen])
            share = np.mean(["in the background" in str(caption.text) for caption in found])
            show(f"captions: share with a background, {name}, {kind}", share)


def _mixed(clip: audio.Waveform, effect: audio.Waveform, generator: np.random.Generator) -> audio.Waveform:
    level = 10 ** (generator.uniform(-24, -9) / 20)
    return (clip + level * np.resize(audio.peak_normalise(effect), clip.shape)).astype(np.float32)


@torch.no_grad()
def probe() -> None:
    """Logistic regression on the AST's pooled features, n = 100: pre-trained against random weights."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    source = find_classifier("pocket")
    for name in ("instruments", "percussion"):
        scores: dict[str, list[float]] = {"pre-trained": [], "random": []}
        for seed in SEEDS:
            splits = draw(name, 100, seed)
            frontend = fit_frontend(source, [len(clip) for clip in splits["train"][0]])
            trained = load_classifier(source, frontend, ["a", "b"], "single_label_classification", seed)
            torch.manual_seed(seed)
            fresh = type(trained)(trained.config)
            fit_positions(fresh, frontend.extractor.max_length)
            for kind, model in (("pre-trained", trained), ("random", fresh)):
                encoder = model.eval().audio_spectrogram_transformer
                rows = {split: _pooled(encoder, frontend, clips) for split, (clips, _) in splits.items()}
                fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, C=0.1))
                fitted.fit(rows["train"], splits["train"][1])
                scores[kind].append(fitted.score(rows["test"], splits["test"][1]))
        for kind, values in scores.items():
            per_seed = np.round(values, 3).tolist()
            show(f"classifier: linear probe, {name}, n=100, {kind}", np.mean(values), per_seed=per_seed)


def _pooled(encoder: torch.nn.Module, frontend: Frontend, waveforms: list[audio.Waveform]) -> np.ndarray:
    features = torch.stack([frontend.inputs(waveform)[frontend.main_input] for waveform in waveforms])
    return torch.cat([encoder(part).pooler_output for part in features.split(64)]).numpy()


def speed() -> None:
    """A 2 s clip in a batch of 8, all threads; the median of five batches."""
    generator = load_pipeline(T2AConfig())
    seconds = []
    for batch in range(6):
        started = time.perf_counter()
        generator.generate(["Sound of a flute"] * 8, 2.0, list(range(8 * batch, 8 * batch + 8)))
        seconds.append((time.perf_counter() - started) / 8)
    show("t2a: seconds per 2 s clip, batch 8", np.median(seconds[1:]), threads=torch.get_num_threads())


def steps() -> None:
    """Frechet distance to the corpus' clips by sampler steps and guidance, on a judge trained on the corpus itself.

    This is what chose the defaults: it sees pre-training clips only, none of the evaluation sets.
    """
    rate = _corpus_judge(clips_per_class=4)
    pairs = [(guidance, 12) for guidance in (1.5, 2.0, 2.5, 3.0, 4.0)] + [(2.5, count) for count in (6, 8, 25, 100)]
    for guidance, count in pairs:
        rate(
            f"guidance {guidance}, {count} steps",
            load_pipeline(T2AConfig(guidance_scale=guidance, num_inference_steps=count)),
        )


def duration() -> None:
    """The same at the defaults, with the fixed frequencies of the duration embedding as they were saved, rounded to
    half precision, and whole."""
    rate = _corpus_judge(clips_per_class=20)
    generator = load_pipeline(T2AConfig())
    rate("frequencies rounded, as shipped", generator)
    embedder = generator.pipeline.duration_embedder
    embedder.freqs = type(embedder).from_config(embedder.config).freqs
    rate("frequencies whole", generator)


def _corpus_judge(clips_per_class: int) -> Callable[[str, TextToAudio], None]:
    """What shows the figures of a generator, judged by what pre-training heard."""
    waveforms, labels = read_set("generator", "train")
    classes = sorted(set(labels))
    judge = train_judge(list(zip(waveforms, labels, strict=True)), classes, 1.5, 300, 0, Reporter())
    real = judge.embed(waveforms)

    def rate(name: str, generator: TextToAudio) -> None:
        names = [label for label in classes for _ in range(clips_per_class)]
        made = _generated(names, generator)
        rows = judge.embed(made)
        accuracy = np.mean(np.array(classes)[judge.scores(made).argmax(axis=1)] == np.array(names))
        show(
            f"t2a: Frechet distance, {name}",
            metrics.frechet_distance(rows, real),
            judge_accuracy=round(float(accuracy), 3),
            diversity=round(metrics.relative_diversity(rows, names, real, labels), 3),
        )

    return rate


def _generated(names: list[str], generator: TextToAudio) -> list[audio.Waveform]:
    prompts = [f"Sound of a {label}" for label in names]
    made: list[audio.Waveform] = []
    for start in range(0, len(prompts), 24):
        chunk = prompts[start : start + 24]
        made += generator.generate(chunk, 1.5, list(range(start, start + len(chunk))))
    return made


PARTS: dict[str, Callable[[], None]] = {
    "size": size, "autoencoder": autoencoder, "clap": clap, "captions": captions, "probe": probe,
    "speed": speed, "steps": steps, "duration": duration,
}  # fmt: skip

if __name__ == "__main__":
    for part in sys.argv[1:] or list(PARTS):
        PARTS[part]()
