"""Tiny random-weight models of the real classes, saved to disk for the real loading code."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderOobleck,
    AutoencoderSAME,
    CosineDPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    StableAudio3DiTModel,
    StableAudio3Pipeline,
    StableAudioDiTModel,
    StableAudioPipeline,
)
from diffusers.pipelines.stable_audio import StableAudioProjectionModel
from diffusers.pipelines.stable_audio_3.modeling_stable_audio_3 import StableAudio3DurationEmbedder
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertModel,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

WORDS = "sound of a and with low high soft loud short tone hiss noise click in the background rain".split()


def with_half_of(file: str, model: Path, folder: Path) -> Path:
    """A copy of a model's folder in which half of one file is there, as after a download that was cut short."""
    shutil.copytree(model, folder)
    whole = (model / file).read_bytes()
    (folder / file).write_bytes(whole[: len(whole) // 2])
    return folder


def tiny_tokenizer(max_length: int = 12) -> PreTrainedTokenizerFast:
    """Words to ids; unknown words to one id; CLS and SEP around."""
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3} | {word: i + 4 for i, word in enumerate(WORDS)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=max_length
    )


def tiny_stable_audio_3(folder: Path) -> Path:
    """A rectified-flow pipeline with a `BertModel` text encoder: 16 kHz mono, 256 samples per latent frame."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    bert = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    vae = AutoencoderSAME(
        audio_channels=1, patch_size=64, encoder_channels=16, encoder_c_mults=(1,), encoder_strides=(4,),
        encoder_transformer_depths=(1,), latent_dim=4, use_differential_attention=False, dim_heads=8, ff_mult=1,
        sampling_rate=16_000,
    )  # fmt: skip
    transformer = StableAudio3DiTModel(
        io_channels=4, embed_dim=16, depth=1, num_heads=2, cond_token_dim=16, global_cond_dim=16, local_add_cond_dim=1,
        timestep_features_dim=8, ff_mult=1.0, num_memory_tokens=1, use_differential_attention=False,
    )  # fmt: skip
    with torch.no_grad():
        # The class starts its last layers at zero; random ones make audio that is not silent.
        for parameter in (*vae.parameters(), *transformer.parameters()):
            if parameter.ndim > 1 and float(parameter.abs().max()) == 0:
                parameter.normal_(std=0.2)
        vae.encoder.blocks[0].new_tokens.normal_()
        vae.decoder.blocks[0].new_tokens.normal_()
    StableAudio3Pipeline(
        vae=vae,
        text_encoder=BertModel(bert),
        tokenizer=tokenizer,
        duration_embedder=StableAudio3DurationEmbedder(output_dim=16, max_val=16.0),
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, shift=1.0),
    ).save_pretrained(folder)
    return folder


def tiny_stable_audio(folder: Path) -> Path:
    """A v-prediction pipeline (Stable Audio Open's classes): 16 kHz stereo, one second."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    t5 = T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    StableAudioPipeline(
        vae=AutoencoderOobleck(
            encoder_hidden_size=8, downsampling_ratios=[4, 8, 8], decoder_channels=4, decoder_input_channels=4,
            audio_channels=2, channel_multiples=[1, 1, 1], sampling_rate=16_000,
        ),
        text_encoder=T5EncoderModel(t5),
        projection_model=StableAudioProjectionModel(text_encoder_dim=16, conditioning_dim=16, min_value=0, max_value=8),
        tokenizer=tokenizer,
        transformer=StableAudioDiTModel(
            sample_size=63, in_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=2,
            num_key_value_attention_heads=1, out_channels=4, cross_attention_dim=16, time_proj_dim=16,
            global_states_input_dim=32, cross_attention_input_dim=16,
        ),
        # As in the released model; it draws noise at every step, through torchsde.
        scheduler=CosineDPMSolverMultistepScheduler(
            solver_order=2, prediction_type="v_prediction", sigma_data=1.0, sigma_schedule="exponential"
        ),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def tiny_clap(folder: Path) -> Path:
    """A `ClapModel` at 16 kHz with a one-second window."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    config = ClapConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 32, "max_position_embeddings": 32, "pad_token_id": 0,
        },
        audio_config={
            "spec_size": 64, "num_mel_bins": 32, "patch_embeds_hidden_size": 8, "hidden_size": 32,
            "depths": [1, 1, 1], "num_attention_heads": [1, 2, 4], "window_size": 4, "enable_fusion": False,
        },
        projection_dim=16,
    )  # fmt: skip
    ClapModel(config).eval().save_pretrained(folder)
    ClapFeatureExtractor(
        feature_size=32, sampling_rate=16_000, hop_length=128, max_length_s=1, fft_window_size=512, frequency_min=30,
        frequency_max=8_000, truncation="rand_trunc", padding="pad",
    ).save_pretrained(folder)  # fmt: skip
    tokenizer.save_pretrained(folder)
    return folder


def what_is_decoded(autoencoder: Any) -> list[torch.Tensor]:
    """Latents are added to the list as the autoencoder decodes them."""
    decoded: list[torch.Tensor] = []
    decode = autoencoder.decode

    def keep(latents: torch.Tensor) -> object:
        decoded.append(latents)
        return decode(latents)

    autoencoder.decode = keep
    return decoded
