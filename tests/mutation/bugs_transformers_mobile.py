"""Bugs of copies of MobileViT."""

from mutation import bug

MOBILE = "models.mobilevit"

MUTATIONS = [
    bug(
        "mobilevit_joins_in_the_other_order",
        MOBILE,
        "mobilevit_xxs",
        ("torch.cat([x, self.narrow(y)], 1)", "torch.cat([self.narrow(y), x], 1)"),
    ),
    bug(
        "mobilevit_pads_odd_maps",
        MOBILE,
        "mobilevit_s",
        (
            'y = F.interpolate(y, even, mode="bilinear")',
            "y = F.pad(y, (0, even[1] - size[1], 0, even[0] - size[0]))",
        ),
        ('y = F.interpolate(y, size, mode="bilinear")', "y = y[:, :, : size[0], : size[1]]"),
    ),
]
