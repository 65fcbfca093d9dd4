"""Real bugs of popular copies of the modules of several scales, and what well-known versions do differently."""

from mutation import bug

SK, SPLIT, PSA = "blocks.selective_kernel", "blocks.split_attention", "blocks.psa"
ASPP, SAFM, PARNET = "blocks.aspp", "blocks.safm", "blocks.parnet"
POOLED = "layers.pooled_batch_norm"

MUTATIONS = [
    # Selective kernel
    bug(
        "selective_kernel_without_norm_and_relu_on_the_summary",
        SK,
        "selective_kernel",
        (", PooledBatchNorm(hidden), nn.ReLU())", ")"),
    ),
    bug(
        "selective_kernel_biased_selectors",
        SK,
        "selective_kernel",
        ("branches * dim, 1, bias=False", "branches * dim, 1"),
    ),
    bug("selective_kernel_without_dilation", SK, "selective_kernel", (", dilation=m + 1", "")),
    bug("selective_kernel_softmax_over_channels", SK, "selective_kernel", ("nn.Softmax(dim=1)", "nn.Softmax(dim=2)")),
    bug("selective_kernel_chooses_by_the_mean", SK, "selective_kernel", ("sum(u.mean(", "sum(u.div(len(maps)).mean(")),
    # Split attention
    bug("split_attention_without_norm", SPLIT, "split_attention", ("PooledBatchNorm(hidden), ", "")),
    bug(
        "split_attention_sees_all_channels",
        SPLIT,
        "split_attention",
        ("groups=groups * radix)\n        self.fuse", "groups=groups)\n        self.fuse"),
    ),
    bug(
        "split_attention_without_a_least_width",
        SPLIT,
        "split_attention",
        ("max(dim * radix // reduction, 32)", "dim // reduction"),
    ),
    bug(
        "split_attention_sigmoid",
        SPLIT,
        "split_attention",
        ("nn.Softmax(dim=1) if radix > 1 else nn.Sigmoid()", "nn.Sigmoid()"),
    ),
    # Pyramid squeeze attention
    bug("psa_in_the_papers_order", PSA, "psa", ("for conv in reversed(self.convs)", "for conv in self.convs")),
    bug("psa_without_groups", PSA, "psa", ("Sequence[int] = (1, 4, 8, 16)", "Sequence[int] = (1, 1, 1, 1)")),
    bug(
        "psa_softmax_alone",
        PSA,
        "psa",
        ("self.squash(self.excite(self.act(self.squeeze(z))))", "self.excite(self.act(self.squeeze(z)))"),
    ),
    bug(
        "psa_adds_the_branches",
        PSA,
        "psa",
        (
            "return torch.cat(maps, 1) * a.flatten(1)[..., None, None]",
            "return (torch.stack(maps, 1) * a[..., None, None]).sum(1)",
        ),
    ),
    # ASPP
    bug("aspp_undilated", ASPP, "aspp", ("dilation=rate", "dilation=1")),
    bug("aspp_without_the_image", ASPP, "aspp", (" + F.conv2d(whole, weight[:, -self.out_dim :])", "")),
    bug("aspp_always_256", ASPP, "aspp", ("out_dim = dim if out_dim is None else out_dim", "out_dim = 256")),
    bug(
        "aspp_without_relu_on_the_image",
        ASPP,
        "aspp",
        ("PooledBatchNorm(out_dim), nn.ReLU())", "PooledBatchNorm(out_dim))"),
    ),
    # SAFM
    bug("safm_pools_to_nothing", SAFM, "safm", ("max(1, side >> level)", "side >> level")),
    bug("safm_averages", SAFM, "safm", ("return F.adaptive_max_pool2d(", "return F.adaptive_avg_pool2d(")),
    bug(
        "safm_without_modulation",
        SAFM,
        "safm",
        ("return self.act(self.mix(torch.cat(views, 1))) * x", "return self.act(self.mix(torch.cat(views, 1)))"),
    ),
    bug("safm_compiled_windows_too_short", SAFM, "safm", ("-(-side // count) + 1, device", "side // count, device")),
    # ParNet
    bug("parnet_raw_skip", PARNET, "parnet", ("n = self.skip(x)", "n = x")),
    bug("parnet_gate_looks_at_the_raw_image", PARNET, "parnet", ("self.excite(n.mean(", "self.excite(x.mean(")),
    # BatchNorm of a pooled image
    bug("pooled_batch_norm_refuses_one_image", POOLED, "aspp", ("if self.training and x.shape[0] == 1:", "if False:")),
]
