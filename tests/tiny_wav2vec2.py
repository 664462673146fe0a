"""Tiny random-weight classifiers that read waveforms, or frames with a mask, and their feature extractors, on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

_SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "classifier_proj_size": 8,
}
#: A frame of 20 ms every 20 ms.
_WAVEFORM = {
    **_SIZES,
    "conv_dim": (8, 8),
    "conv_stride": (20, 16),
    "conv_kernel": (20, 16),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}


def build_wav2vec2(folder: Path, mask: bool = False) -> Path:
    """As wav2vec 2.0 base, or with ``mask`` as wav2vec 2.0 large: whether the extractor gives an attention mask."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForSequenceClassification

    config = Wav2Vec2Config(**_WAVEFORM, feat_extract_norm="layer" if mask else "group")
    return _save(Wav2Vec2ForSequenceClassification, config, mask, folder)


def build_hubert(folder: Path) -> Path:
    """As HuBERT large, with an attention mask."""
    from transformers import HubertConfig, HubertForSequenceClassification

    return _save(HubertForSequenceClassification, HubertConfig(**_WAVEFORM, feat_extract_norm="layer"), True, folder)


def build_wav2vec2_bert(folder: Path) -> Path:
    """Reads frames, two at a time, with an attention mask."""
    from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2BertConfig, Wav2Vec2BertForSequenceClassification

    config = Wav2Vec2BertConfig(**_SIZES, feature_projection_input_dim=160)
    _seeded(Wav2Vec2BertForSequenceClassification, config).save_pretrained(folder)
    SeamlessM4TFeatureExtractor().save_pretrained(folder)
    return folder


def _save(family: type, config: object, mask: bool, folder: Path) -> Path:
    from transformers import Wav2Vec2FeatureExtractor

    _seeded(family, config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=mask).save_pretrained(folder)
    return folder


def _seeded(family: type, config: object):  # type: ignore[no-untyped-def]
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return family(config)


#: Those whose extractor gives an attention mask.
MASKED: Mapping[str, Callable[[Path], Path]] = {
    "wav2vec2": lambda folder: build_wav2vec2(folder, mask=True),
    "hubert": build_hubert,
    "wav2vec2-bert": build_wav2vec2_bert,
}
