"""A tiny random-weight `ASTForAudioClassification` and its feature extractor, on disk as any model folder."""

from __future__ import annotations

from pathlib import Path

N_MELS = 32
MAX_LENGTH = 48


def build(folder: Path, classes: int = 5, seed: int = 0) -> Path:
    """Write config.json, model.safetensors and preprocessor_config.json (16 kHz, 32 mel bins, 48 frames).

    The positions are random rather than zero, so that tests of their interpolation can fail.
    """
    import torch
    from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

    config = ASTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        patch_size=8,
        frequency_stride=8,
        time_stride=8,
        max_length=MAX_LENGTH,
        num_mel_bins=N_MELS,
        id2label={index: f"tag {index}" for index in range(classes)},
        label2id={f"tag {index}": index for index in range(classes)},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ASTForAudioClassification(config)
        torch.nn.init.normal_(model.audio_spectrogram_transformer.embeddings.position_embeddings, std=0.02)
    model.save_pretrained(folder)
    ASTFeatureExtractor(num_mel_bins=N_MELS, max_length=MAX_LENGTH).save_pretrained(folder)
    return folder
