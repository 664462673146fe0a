"""Quality of the shipped pocket models on the demo's clips, which pre-training never heard.

    python benchmarks/pocket_quality.py

Prints one JSON line per figure. The tagger that recognises generated clips took no part in filtering; it is not the
independent judge that a strong claim needs (it shares pre-training clips with the generator), so real clips through the
same tagger are printed beside.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import torch

from synthio import audio
from synthio.backends import pocket
from synthio.backends.clap import load_clap
from synthio.backends.text_to_audio import load_text_to_audio
from synthio.config import ClapConfig, T2AConfig
from synthio.datasets.demo import demo_folder
from synthio.pretrain.general_midi import FAMILIES
from synthio.progress import Reporter

RATE_HZ = 16_000
CLIPS_PER_FAMILY = 6


def demo_clips() -> tuple[list[audio.Waveform], list[str]]:
    """The demo's test clips and their families."""
    paths = sorted((demo_folder() / "test").rglob("*.ogg"))
    return [audio.load(path, RATE_HZ) for path in paths], [path.parent.name.replace("_", " ") for path in paths]


def autoencoder_error_db(waveforms: list[audio.Waveform]) -> float:
    """Mean absolute log-mel error, 64 mel, 80 dB range."""
    from diffusers import AutoencoderSAME

    from synthio.pretrain.autoencoder import reconstruction_error_db

    model = AutoencoderSAME.from_pretrained(pocket.t2a_folder() / "vae", torch_dtype=torch.float32)
    return reconstruction_error_db(model, waveforms, RATE_HZ)


def clap_accuracy(waveforms: list[audio.Waveform], families: list[str]) -> float:
    """Zero-shot over the 11 family templates."""
    clap = load_clap(ClapConfig(), Reporter())
    names = list(FAMILIES)
    text = clap.embed_text([f"Sound of a {name}" for name in names])
    best = (clap.embed_audio(waveforms, RATE_HZ) @ text.T).argmax(axis=1)
    return float(np.mean([names[i] == family for i, family in zip(best, families, strict=True)]))


@torch.no_grad()
def tagger_accuracy(waveforms: list[audio.Waveform], families: list[str]) -> float:
    """The pocket tagger, its best tag among the 11 families."""
    from transformers import ASTFeatureExtractor, ASTForAudioClassification

    folder = pocket.classifier_folder()
    model = ASTForAudioClassification.from_pretrained(folder, dtype=torch.float32).eval()
    extractor = ASTFeatureExtractor.from_pretrained(folder)
    names = list(FAMILIES)
    columns = [model.config.label2id[name] for name in names]
    inputs = extractor(waveforms, sampling_rate=RATE_HZ, return_tensors="pt")["input_values"]
    best = model(inputs).logits[:, columns].argmax(dim=1).tolist()
    return float(np.mean([names[i] == family for i, family in zip(best, families, strict=True)]))


def generated_clips(guidance_scale: float, steps: int) -> tuple[list[audio.Waveform], list[str], float]:
    """Template prompts; also seconds per clip."""
    generator = load_text_to_audio(T2AConfig(guidance_scale=guidance_scale, num_inference_steps=steps))
    families = [name for name in FAMILIES for _ in range(CLIPS_PER_FAMILY)]
    waveforms: list[audio.Waveform] = []
    started = time.perf_counter()
    for start in range(0, len(families), 16):
        chunk = families[start : start + 16]
        prompts = [f"Sound of a {name}" for name in chunk]
        waveforms += generator.generate(prompts, 1.5, list(range(start, start + len(chunk))))
    return waveforms, families, (time.perf_counter() - started) / len(families)


def main() -> None:
    """Print every figure."""
    waveforms, families = demo_clips()

    def show(measure: str, value: float) -> None:
        print(json.dumps({"measure": measure, "value": round(value, 4)}), flush=True)

    show("autoencoder: log-mel error on demo test clips, dB", autoencoder_error_db(waveforms[::5]))
    show("clap: zero-shot accuracy, 11 families, real demo test clips", clap_accuracy(waveforms, families))
    show("tagger: accuracy among 11 families, real demo test clips", tagger_accuracy(waveforms, families))
    for guidance_scale in (1.0, 2.5, 4.0, 6.0):
        generated, wanted, seconds = generated_clips(guidance_scale, 25)
        show(f"t2a: tagger accuracy on generated clips, guidance {guidance_scale}", tagger_accuracy(generated, wanted))
        show(f"t2a: clap accuracy on generated clips, guidance {guidance_scale}", clap_accuracy(generated, wanted))
        show(f"t2a: seconds per 1.5 s clip, 25 steps, guidance {guidance_scale}", seconds)


if __name__ == "__main__":
    assert Path(pocket.SHIPPED).is_dir()
    main()
