"""A tiny random-weight `AudioLDM2Pipeline` of the real classes, in the folders of the published ones."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    AudioLDM2Pipeline,
    AudioLDM2ProjectionModel,
    AudioLDM2UNet2DConditionModel,
    AutoencoderKL,
    DDIMScheduler,
)
from tiny_models import WORDS
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    GPT2Config,
    GPT2Model,
    RobertaTokenizer,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)


def tiny_audioldm2(folder: Path) -> Path:
    """A pipeline of 16 kHz: 160 samples per frame of 64 mel bands, 4 of them per latent frame, as the published ones.

    Their language model is a `GPT2Model` too.
    """
    torch.manual_seed(0)
    tokenizer, tokenizer_2 = _letters(), _words()
    gpt = GPT2Config(
        vocab_size=4, n_embd=12, n_head=2, n_layer=2, n_positions=64, bos_token_id=0, eos_token_id=0,
        initializer_range=0.3,
    )  # fmt: skip
    gpt.max_new_tokens = 8
    t5 = T5Config(vocab_size=len(tokenizer_2), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    AudioLDM2Pipeline(
        vae=AutoencoderKL(
            in_channels=1, out_channels=1, latent_channels=4, block_out_channels=(8, 8, 8), norm_num_groups=4,
            down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3, scaling_factor=0.4,
        ),
        text_encoder=ClapModel(_clap(len(tokenizer))),
        text_encoder_2=T5EncoderModel(t5),
        projection_model=AudioLDM2ProjectionModel(
            text_encoder_dim=16, text_encoder_1_dim=16, langauge_model_dim=12
        ),
        language_model=GPT2Model(gpt),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        feature_extractor=ClapFeatureExtractor(feature_size=32, sampling_rate=16_000, max_length_s=1),
        unet=AudioLDM2UNet2DConditionModel(
            sample_size=16, in_channels=4, out_channels=4, block_out_channels=(8, 16), layers_per_block=1,
            norm_num_groups=4, attention_head_dim=2, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=[[None, 12, 16]] * 2,
        ),
        scheduler=DDIMScheduler(
            beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False,
            set_alpha_to_one=False, steps_offset=1,
        ),
        vocoder=SpeechT5HifiGan(
            SpeechT5HifiGanConfig(
                model_in_dim=64, sampling_rate=16_000, upsample_initial_channel=32, upsample_rates=[5, 4, 2, 2, 2],
                upsample_kernel_sizes=[16, 16, 8, 4, 4], resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1]],
                normalize_before=False, initializer_range=0.2,
            )
        ),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def _letters() -> RobertaTokenizer:
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *sorted(ByteLevel.alphabet())]
    return RobertaTokenizer(vocab={piece: number for number, piece in enumerate(pieces)}, model_max_length=24)


def _words() -> T5Tokenizer:
    special = [(piece, 0.0) for piece in ("<pad>", "</s>", "<unk>")]
    return T5Tokenizer(vocab=[*special, *((f"▁{word}", -1.0) for word in WORDS)], extra_ids=0, model_max_length=24)


def _clap(vocabulary: int) -> ClapConfig:
    return ClapConfig(
        text_config={
            "vocab_size": vocabulary, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 32, "max_position_embeddings": 32,
        },
        audio_config={
            "spec_size": 64, "num_mel_bins": 32, "patch_embeds_hidden_size": 8, "hidden_size": 32,
            "depths": [1, 1, 1], "num_attention_heads": [1, 2, 4], "window_size": 4, "enable_fusion": False,
        },
        projection_dim=16,
    )  # fmt: skip
