"""A pretrained Transformer converted without training: AntiBERTy, a post-norm BERT with 26 million parameters.

    pip download --no-deps --dest build/antiberty antiberty==0.1.3   # the weights are in the wheel
    python -m benchmarks.starts.pretrained build/antiberty

Calibrated on chains of four therapeutic antibodies with 15 % of the residues masked, tried on the others; the figures
are masked-token loss and accuracy there.
"""

import argparse
import copy
import io
import json
import zipfile
from pathlib import Path

import derf
import torch
from torch.nn import functional as F
from transformers import BertConfig, BertForMaskedLM

RESULTS = Path(__file__).parent / "results" / "pretrained.json"
VOCABULARY = "[PAD] [UNK] [CLS] [SEP] [MASK] A C D E F G H I K L M N P Q R S T V W Y".split()
CALIBRATION = [  # trastuzumab, adalimumab, rituximab, bevacizumab; heavy, then light
    "EVQLVESGGGLVQPGGSLRLSCAASGFNIKDTYIHWVRQAPGKGLEWVARIYPTNGYTRYADSVKGRFTISADTSKNTAYLQMNSLRAEDTAVYYCSRWGGDGFYAMDYWGQGTLVTVSS",
    "DIQMTQSPSSLSASVGDRVTITCRASQDVNTAVAWYQQKPGKAPKLLIYSASFLYSGVPSRFSGSRSGTDFTLTISSLQPEDFATYYCQQHYTTPPTFGQGTKVEIK",
    "EVQLVESGGGLVQPGRSLRLSCAASGFTFDDYAMHWVRQAPGKGLEWVSAITWNSGHIDYADSVEGRFTISRDNAKNSLYLQMNSLRAEDTAVYYCAKVSYLSTASSLDYWGQGTLVTVSS",
    "DIQMTQSPSSLSASVGDRVTITCRASQGIRNYLAWYQQKPGKAPKLLIYAASTLQSGVPSRFSGSGSGTDFTLTISSLQPEDVATYYCQRYNRAPYTFGQGTKVEIK",
    "QVQLQQPGAELVKPGASVKMSCKASGYTFTSYNMHWVKQTPGRGLEWIGAIYPGNGDTSYNQKFKGKATLTADKSSSTAYMQLSSLTSEDSAVYYCARSTYYGGDWYFNVWGAGTTVTVSA",
    "QIVLSQSPAILSASPGEKVTMTCRASSSVSYIHWFQQKPGSSPKPWIYATSNLASGVPVRFSGSGSGTSYSLTISRVEAEDAATYYCQQWTSNPPTFGGGTKLEIK",
    "EVQLVESGGGLVQPGGSLRLSCAASGYTFTNYGMNWVRQAPGKGLEWVGWINTYTGEPTYAADFKRRFTFSLDTSKSTAYLQMNSLRAEDTAVYYCAKYPHYYGSSHWYFDVWGQGTLVTVSS",
    "DIQMTQSPSSLSASVGDRVTITCSASQDISNYLNWYQQKPGKAPKVLIYFTSSLHSGVPSRFSGSGSGTDFTLTISSLQPEDFATYYCQQYSTVPWTFGQGTKVEIK",
]
HELD_OUT = [  # cetuximab, and the example of IgFold's documentation
    "QVQLKQSGPGLVQPSQSLSITCTVSGFSLTNYGVHWVRQSPGKGLEWLGVIWSGGNTDYNTPFTSRLSINKDNSKSQVFFKMNSLQSNDTAIYYCARALTYYDYEFAYWGQGTLVTVSA",
    "DILLTQSPVILSVSPGERVSFSCRASQSIGTNIHWYQQRTNGSPRLLIKYASESISGIPSRFSGSGSGTDFTLSINSVESEDIADYYCQQNNNWPTTFGAGTKLELK",
    "EVQLVQSGPEVKKPGTSVKVSCKASGFTFMSSAVQWVRQARGQRLEWIGWIVIGSGNTNYAQKFQERVTITRDMSTSTAYMELSSLRSEDTAVYYCAAPYCSSISCNDGFDIWGQGTMVTVS",
    "DVVMTQTPFSLPVSLGDQASISCRSSQSLVHSNGNTYLHWYLQKPGQSPKLLIYKVSNRFSGVPDRFSGSGSGTDFTLKISRVEAEDLGVYFCSQSTHVPYTFGGGTKLEIK",
]


def load(folder: Path) -> BertForMaskedLM:
    (wheel,) = folder.glob("antiberty-0.1.3*.whl")
    inside = "antiberty/trained_models/AntiBERTy_md_smooth/"
    with zipfile.ZipFile(wheel) as archive:
        config = json.loads(archive.read(inside + "config.json"))
        weights = torch.load(io.BytesIO(archive.read(inside + "pytorch_model.bin")), "cpu", weights_only=True)
    model = BertForMaskedLM(BertConfig(**config))
    missing, _ = model.load_state_dict(weights, strict=False)
    assert not [name for name in missing if not name.endswith("position_ids")], missing
    return model.eval()


def masked(sequences: list[str], seed: int) -> dict[str, torch.Tensor]:
    """Tokens with 15 % of the residues masked, padding, and labels."""
    random = torch.Generator().manual_seed(seed)
    index = {token: number for number, token in enumerate(VOCABULARY)}
    length = max(map(len, sequences)) + 2
    tokens = torch.zeros(len(sequences), length, dtype=torch.long)
    for row, sequence in zip(tokens, sequences, strict=True):
        row[: len(sequence) + 2] = torch.tensor([index["[CLS]"], *map(index.get, sequence), index["[SEP]"]])
    residue = tokens >= index["A"]
    hidden = residue & (torch.rand(tokens.shape, generator=random) < 0.15)
    return {
        "input_ids": tokens.masked_fill(hidden, index["[MASK]"]),
        "attention_mask": (tokens != 0).long(),
        "labels": tokens.masked_fill(~hidden, -100),
    }


@torch.no_grad()
def evaluate(model: BertForMaskedLM, batches: list[dict[str, torch.Tensor]]) -> dict[str, float]:
    logits, labels = [], []
    for batch in batches:
        chosen = batch["labels"] != -100
        logits.append(model(**batch).logits[chosen])
        labels.append(batch["labels"][chosen])
    logits, labels = torch.cat(logits), torch.cat(labels)
    accuracy = (logits.argmax(-1) == labels).double().mean().item()
    return {"loss": round(F.cross_entropy(logits, labels).item(), 4), "accuracy": round(100 * accuracy, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load(arguments.folder)
    batches = [masked(CALIBRATION, seed) for seed in range(4)]
    held_out = [masked(HELD_OUT, 100 + seed) for seed in range(8)]
    rows = {"original": evaluate(model, held_out)}
    rows["plain"] = evaluate(derf.replace_norm(copy.deepcopy(model)), held_out)
    ways = {"parallel": {"mode": "parallel"}, "sequential": {}, "refined": {"refine": 40}}
    for mode, way in ways.items():
        options = {**way, "mask": "attention_mask", "progress": False, "return_report": True}
        converted, report = derf.calibrate(copy.deepcopy(model), batches, **options)
        rows[mode] = evaluate(converted, held_out) | {"least r2": round(min(layer.r2 for layer in report.layers), 3)}
    rows["predictions"] = sum(int((batch["labels"] != -100).sum()) for batch in held_out)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
