"""Speech by rule: texts of the standard library, read by espeak-ng where it is installed, else by formants.

The formant reader gives each letter a sound: harmonics of a voice under three resonances, noise for consonants. It is
no good speech, but it has what wav2vec 2.0 is to find: sounds that return, from several voices.
"""

import shutil
import subprocess
import tempfile
from functools import cache

import torch
from torch import Tensor

RATE, SECONDS = 4000, 2.0
COUNTS = {"train": 320, "validation": 48, "test": 48}
FORMANTS = {  # Hz; the vowels' are those of phonetics, the consonants' a rule of thumb
    "a": (730, 1090, 1700), "e": (530, 1500, 1850), "i": (280, 1750, 1950), "o": (500, 850, 1700),
    "u": (310, 780, 1650), "y": (300, 1600, 1900), "l": (360, 1300, 1800), "r": (420, 1300, 1600),
    "m": (250, 1000, 1600), "n": (250, 1450, 1800), "w": (300, 700, 1500), "j": (280, 1700, 1950),
}  # fmt: skip
NOISE = {"s": 1900, "z": 1800, "f": 1100, "v": 1000, "h": 700, "x": 1600, "c": 1500}  # Hz, where it is loudest
VOICED_NOISE, STOPS = "zvbdg", {"p": 600, "b": 500, "t": 1700, "d": 1600, "k": 1200, "g": 1100, "q": 1000}


def engine() -> str:
    return "espeak-ng" if shutil.which("espeak-ng") else "formants"


@cache
def texts() -> list[str]:
    """The help pages of Python's language, in pieces of about two seconds."""
    from pydoc_data.topics import topics

    words = " ".join(topics[name] for name in sorted(topics)).split()
    words = [word for word in words if word.isalpha()]
    return [" ".join(words[i : i + 6]).lower() for i in range(0, len(words) - 6, 6)]


def read_by_formants(text: str, random: torch.Generator) -> Tensor:
    """Samples [8000] of a voice of its own."""
    samples = int(RATE * SECONDS)
    pitch, tract, speed = (torch.rand(3, generator=random) * torch.tensor([120.0, 0.25, 0.03])).tolist()
    pitch, tract, speed = 90 + pitch, 0.9 + tract, 0.065 + speed
    length = int(RATE * speed)
    rows = []  # of each letter: three formants, voice, noise, the noise's centre
    for letter in text:
        if letter in FORMANTS:
            rows.append([*FORMANTS[letter], 1.0, 0.0, 1000])
        elif letter in NOISE or letter in STOPS:
            centre = NOISE.get(letter) or STOPS[letter]
            rows.append([300, 1200, 1700, 0.4 * (letter in VOICED_NOISE), 0.5 if letter in NOISE else 0.25, centre])
        else:
            rows.append([400, 1200, 1700, 0.0, 0.0, 1000])
    track = torch.tensor(rows).T[None]
    track = torch.nn.functional.interpolate(track, size=len(rows) * length, mode="linear")[0]  # sounds run together
    track = torch.nn.functional.pad(track, (0, max(0, samples - track.shape[1])))[:, :samples]
    formants, (voice, noise, centre) = track[:3] * tract, track[3:]
    time = torch.arange(samples) / RATE
    f0 = pitch * (1.1 - 0.1 * time + 0.04 * (2 * torch.pi * 3 * time).sin())
    phase = 2 * torch.pi * (f0 / RATE).cumsum(0)
    sound = torch.zeros(samples)
    for harmonic in range(1, int(RATE / 2 / (1.2 * pitch)) + 1):
        loudness = (1 / (1 + ((harmonic * f0 - formants) / 90).square())).sum(0)
        sound += voice * loudness * (harmonic * phase).sin()
    # Noise around its centre: a random walk of phase beside it.
    walk = (torch.randn(samples, generator=random) * 0.6).cumsum(0)
    return sound + noise * (2 * torch.pi * (centre / RATE).cumsum(0) + walk).sin()


def read_by_espeak(text: str, random: torch.Generator) -> Tensor:
    """Samples [8000] of a voice of its own."""
    from scipy.io import wavfile
    from scipy.signal import resample_poly

    pitch, speed = torch.randint(20, 80, (1,), generator=random), torch.randint(150, 200, (1,), generator=random)
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        command = ["espeak-ng", "-w", file.name, "-p", str(pitch.item()), "-s", str(speed.item()), text]
        subprocess.run(command, capture_output=True, check=True)
        rate, samples = wavfile.read(file.name)
    sound = torch.from_numpy(resample_poly(samples / 32768, RATE, rate)).float()
    wanted = int(RATE * SECONDS)
    return torch.nn.functional.pad(sound, (0, max(0, wanted - len(sound))))[:wanted]


@cache
def data(split: str, count: int | None = None) -> Tensor:
    """Utterances [N, 8000] of train, validation or test, each of mean 0 and variance 1; other texts for each split."""
    read = read_by_espeak if engine() == "espeak-ng" else read_by_formants
    start = sum(size for name, size in COUNTS.items() if list(COUNTS).index(name) < list(COUNTS).index(split))
    chosen = texts()[start : start + (count or COUNTS[split])]
    sounds = [read(text, torch.Generator().manual_seed(start + i)) for i, text in enumerate(chosen)]
    return torch.stack([(sound - sound.mean()) / (sound.std() + 1e-5) for sound in sounds])
