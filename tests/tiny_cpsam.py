"""A stand-in for cpsam: the code of Cellpose 4 with an image encoder of one layer.

The weights of cpsam (1.2 GB) are not part of the tests. Run by the Python of the cellpose
family: ``tiny_cpsam.py make FILE`` writes a network that finds bright cones: it takes the
slope of the image within each token for the flow, and its brightness for the probability.
``tiny_cpsam.py run SCRIPT …`` runs a script in whose process Cellpose builds that encoder.
"""

import runpy
import sys
import types

TOKEN = 8  # edge of what Cellpose makes of SAM's patches [px]
STEEPNESS, THRESHOLD = 25.0, 0.3


def small_encoder(_checkpoint=None):
    """Return what Cellpose takes of SAM: an object with an image encoder."""
    import torch
    from torch import nn

    encoder = nn.Module()
    encoder.patch_embed = nn.Module()
    encoder.patch_embed.proj = nn.Conv2d(3, TOKEN**2, 16, 16)
    encoder.pos_embed = nn.Parameter(torch.zeros(1, 64, 64, TOKEN**2))
    encoder.blocks = nn.ModuleList()
    encoder.neck = nn.Sequential(nn.Conv2d(TOKEN**2, 3 * TOKEN**2, 1), nn.Identity())
    return types.SimpleNamespace(image_encoder=encoder)


def install():
    """Make Cellpose build the small encoder."""
    import segment_anything

    segment_anything.sam_model_registry["vit_l"] = small_encoder


def make(path):
    """Write a network that finds bright cones."""
    import torch
    from cellpose.vit import CPSAM

    net = CPSAM(dtype=torch.float32)
    for parameter in (*net.encoder.parameters(), *net.out.parameters()):
        parameter.data.zero_()
    pixels = TOKEN**2
    weights = torch.zeros(3, TOKEN, TOKEN, TOKEN, TOKEN)  # output, its pixel, of which pixels
    for j in range(TOKEN):
        for i in range(TOKEN):
            net.encoder.patch_embed.proj.weight.data[j * TOKEN + i, 0, j, i] = 1
            for axis, at in ((0, j), (1, i)):
                low, high = max(0, at - 1), min(TOKEN - 1, at + 1)
                for end, sign in ((low, -1), (high, 1)):
                    place = (end, i) if axis == 0 else (j, end)
                    weights[(axis, j, i, *place)] += sign * 2 * STEEPNESS / (high - low)
            weights[2, j, i, j, i] = 20
    net.encoder.neck[0].weight.data[:] = weights.reshape(3 * pixels, pixels, 1, 1)
    net.encoder.neck[0].bias.data[2 * pixels :] = -20 * THRESHOLD
    net.out.weight.data[:] = torch.eye(3 * pixels)[..., None, None]
    net.save_model(path)


if __name__ == "__main__":
    install()
    verb, *words = sys.argv[1:]
    if verb == "make":
        make(*words)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")
