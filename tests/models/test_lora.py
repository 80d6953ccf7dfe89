"""A PEFT adapter as a GGUF adapter: the same model in transformers and in llama.cpp, and what cannot be converted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from crucible.errors import InputError
from crucible.models.weights.gguf import requantise
from crucible.models.weights.lora import convert, read_base, read_config
from crucible.types import Message, Sampling
from tests.finetune.tiny import tiny_gguf
from tests.models.adapting import config, key, random_adapter, random_tensors, save_adapter
from tests.models.serving import serve, small_model

PROMPTS = ("Count from 1 to 20.", "Write a Python function that adds two numbers.", "What is the capital of France?")
TOKENS = 24


@pytest.fixture(scope="module")
def base() -> Path:
    return small_model()


@pytest.mark.model
def test_greedy_text_is_that_of_the_merged_model_in_transformers(base: Path, tmp_path: Path) -> None:
    """Base weights and adapter in fp32 on both sides; the Llama architecture, whose rows of Q and K are reordered."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    adapter = random_adapter(tmp_path / "peft")
    convert(adapter, base, tmp_path / "adapter.gguf")
    requantise(base, tmp_path / "base.gguf", "F32")
    with serve(tmp_path / "base.gguf", adapters={"random": tmp_path / "adapter.gguf"}, adapter="random") as engine:
        asked = [[Message(role="user", content=prompt)] for prompt in PROMPTS]
        drawn = [engine.generate(ask, [Sampling(max_tokens=TOKENS)])[0].text for ask in asked]
    tokenizer = AutoTokenizer.from_pretrained(str(base.parent), gguf_file=base.name)
    plain = AutoModelForCausalLM.from_pretrained(
        str(base.parent), gguf_file=base.name, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    )

    merged = PeftModel.from_pretrained(plain, str(adapter)).merge_and_unload()
    texts = []
    for prompt in PROMPTS:
        chat = [{"role": "user", "content": prompt}]
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")["input_ids"]
        out = merged.generate(ids, max_new_tokens=TOKENS, do_sample=False, pad_token_id=0)
        texts.append(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))
    assert drawn == texts


@pytest.mark.model
def test_the_base_is_read(base: Path) -> None:
    said = read_base(base)
    assert (said.architecture, said.layers, said.heads, said.kv_heads) == ("llama", 30, 9, 3)
    assert said.shapes["blk.0.attn_k.weight"] == (192, 576)


def test_rank_stabilised_scale_becomes_an_alpha(tmp_path: Path) -> None:
    """rsLoRA scales by alpha / sqrt(rank) (arXiv 2312.03732); llama.cpp by alpha / rank."""
    adapter = save_adapter(tmp_path, random_tensors(rank=16), config(rank=16, lora_alpha=8, use_rslora=True))
    assert read_config(adapter).alpha / 16 == 8 / 4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"peft_type": "LOHA"}, "this is LOHA"),
        ({"use_dora": True}, "use_dora is True"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"alpha_pattern": {"q_proj": 3}}, "alpha_pattern"),
        ({"rank_pattern": {"q_proj": 3}}, "rank_pattern"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"r": 0}, "rank 0"),
        ({"r": "many"}, "cannot be read"),
        ({"lora_alpha": float("nan")}, "rank 1 or more"),
        ({"lora_alpha": 0}, "lora_alpha is 0"),
        ({"r": 4.5}, "no whole number"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'"),
        ({"init_lora_weights": "pissa_niter_16"}, "init_lora_weights"),
        ({"init_lora_weights": "olora"}, "init_lora_weights"),
        ({"init_lora_weights": "corda"}, "init_lora_weights"),
        ({"init_lora_weights": "loftq"}, "init_lora_weights"),
        ({"loftq_config": {"loftq_bits": 4}}, "loftq_config"),
        ({"layer_replication": [[0, 4], [2, 5]]}, "layer_replication"),
        ({"alora_invocation_tokens": [1, 2]}, "alora_invocation_tokens"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"target_parameters": ["mlp.experts"]}, "target_parameters"),
        ({"lora_bias": True}, "lora_bias is True"),
        ({"use_qalora": True}, "use_qalora"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"task_type": "SEQ_CLS"}, "task_type"),
        ({"a_setting_of_tomorrow": 3}, "a_setting_of_tomorrow is 3"),
    ],
)
def test_what_a_gguf_adapter_cannot_say_is_refused(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_config(random_adapter(tmp_path, **changes))


def test_what_peft_itself_writes_is_taken(tmp_path: Path) -> None:
    from peft import LoraConfig

    save_adapter(tmp_path, random_tensors(), {})
    LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], r=4, lora_alpha=8, lora_dropout=0.1).save_pretrained(
        str(tmp_path)
    )
    assert read_config(tmp_path).rank == 4
    assert read_config(save_adapter(tmp_path, random_tensors(), config(a_setting_of_tomorrow=None))).rank == 4


def test_a_folder_without_an_adapter_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no PEFT adapter.*adapter_config\.json"):
        read_config(tmp_path)


@pytest.mark.model
@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({key(0, "self_attn.q_proj", "B"): torch.zeros(512, 4)}, "512 x 576.*576 x 576: another model's"),
        ({key(30, "self_attn.q_proj", "A"): torch.zeros(4, 576)}, "layers.30.*needs lora_A"),
        ({key(0, "mlp.up_proj", "A"): torch.full((4, 576), float("inf"))}, "finite"),
        ({key(0, "mlp.up_proj", "A"): torch.zeros(8, 576)}, "up_proj needs lora_A"),
        ({"base_model.model.lm_head.weight": torch.zeros(2, 2)}, r"'base_model\.model\.lm_head\.weight' is no plain"),
        (
            {
                key(30, "self_attn.q_proj", "A"): torch.zeros(4, 576),
                key(30, "self_attn.q_proj", "B"): torch.zeros(576, 4),
            },
            r"layers\.30\.self_attn\.q_proj: .* no such weight",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    base: Path, tmp_path: Path, tensors: dict[str, torch.Tensor], said: str
) -> None:
    adapter = save_adapter(tmp_path / "peft", random_tensors() | tensors, config())
    with pytest.raises(InputError, match=said):
        convert(adapter, base, tmp_path / "out.gguf")


@pytest.mark.model
def test_a_damaged_file_is_named(base: Path, tmp_path: Path) -> None:
    adapter = random_adapter(tmp_path / "peft")
    weights = adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"adapter_model\.safetensors cannot be read"):
        convert(adapter, base, tmp_path / "out.gguf")


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "base.gguf").write_bytes(b"GGUF but not really a model at all")
    with pytest.raises(InputError, match=r"base\.gguf cannot be read"):
        convert(random_adapter(tmp_path / "peft"), tmp_path / "base.gguf", tmp_path / "out.gguf")


@pytest.mark.model
def test_a_base_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    base = tiny_gguf(tmp_path)
    assert read_base(base) is read_base(base)
    base.write_bytes(b"GGUF but not really a model at all")
    with pytest.raises(InputError, match="cannot be read"):
        read_base(base)
