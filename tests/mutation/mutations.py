"""Real bugs of popular copies of these modules, as replacements in our source.

Each was found in a public implementation, or is what a well-known one does differently. The text to be replaced must be
in the file exactly once, so that a changed source shows here.
"""

import importlib
from pathlib import Path

from mutation import bug

SE, CBAM, COORD = "blocks.se", "blocks.cbam", "blocks.coord_attention"
SEPARABLE, CONV = "blocks.depthwise_separable_conv", "layers.conv_norm_act"
V1, V2, RESNET = "models.mobilenet_v1", "models.mobilenet_v2", "models.resnet"

MUTATIONS = [
    # Squeeze-and-Excitation
    bug(
        "se_without_sigmoid",
        SE,
        "se",
        ("self.gate(self.excite(self.act(self.squeeze(z))))", "self.excite(self.act(self.squeeze(z)))"),
    ),
    bug("se_without_relu", SE, "se", ("self.excite(self.act(self.squeeze(z)))", "self.excite(self.squeeze(z))")),
    bug("se_without_biases", SE, "se", ("bias: bool = True", "bias: bool = False")),
    bug("se_rounds_the_width_to_eight", SE, "se", ("max(1, dim // reduction)", "max(8, dim // reduction)")),
    bug("se_without_a_least_width", SE, "se", ("hidden = max(1, dim // reduction)", "hidden = dim // reduction")),
    bug("se_averages_over_the_batch", SE, "se", ("x.mean((2, 3), keepdim=True)", "x.mean((0, 2, 3), keepdim=True)")),
    bug("se_writes_into_its_input", SE, "se", ("return x * s", "return x.mul_(s)")),
    # CBAM
    bug("cbam_without_batchnorm", CBAM, "cbam", ("nn.BatchNorm2d(1, momentum=0.01)", "nn.Identity()")),
    bug(
        "cbam_planes_turned_round",
        CBAM,
        "cbam",
        ("[x.amax(1, keepdim=True), x.mean(1, keepdim=True)]", "[x.mean(1, keepdim=True), x.amax(1, keepdim=True)]"),
    ),
    bug(
        "cbam_two_mlps",
        CBAM,
        "cbam",
        (
            "        self.gate = nn.Sigmoid()\n\n    def forward(self, x: Tensor) -> Tensor:\n"
            '        """Scale the channels',
            "        self.mlp_peak = nn.Sequential(nn.Conv2d(dim, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, dim, 1))\n"
            "        self.gate = nn.Sigmoid()\n\n    def forward(self, x: Tensor) -> Tensor:\n"
            '        """Scale the channels',
        ),
        ("self.mlp(mean) + self.mlp(peak)", "self.mlp(mean) + self.mlp_peak(peak)"),
    ),
    bug(
        "cbam_mlp_without_bias",
        CBAM,
        "cbam",
        (
            "nn.Conv2d(dim, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, dim, 1)",
            "nn.Conv2d(dim, hidden, 1, bias=False), nn.ReLU(), nn.Conv2d(hidden, dim, 1, bias=False)",
        ),
    ),
    bug(
        "cbam_multiplies_two_gates",
        CBAM,
        "cbam",
        ("self.gate(self.mlp(mean) + self.mlp(peak))", "self.gate(self.mlp(mean)) * self.gate(self.mlp(peak))"),
    ),
    bug("cbam_space_before_channels", CBAM, "cbam", ("self.spatial(self.channel(x))", "self.channel(self.spatial(x))")),
    # Coordinate attention
    bug("coord_relu_for_hard_swish", COORD, "coord_attention", ("nn.Hardswish()", "nn.ReLU()")),
    bug(
        "coord_pooling_axes_swapped",
        COORD,
        "coord_attention",
        ("rows = x.mean(3, keepdim=True)", "rows = x.mean(2, keepdim=True).transpose(2, 3)"),
        ("columns = x.mean(2, keepdim=True).transpose(2, 3)", "columns = x.mean(3, keepdim=True)"),
    ),
    bug("coord_split_swapped", COORD, "coord_attention", ("split([height, width], 2)", "split([width, height], 2)")),
    bug("coord_without_batchnorm", COORD, "coord_attention", (" nn.BatchNorm2d(hidden),", "")),
    bug(
        "coord_without_a_least_width",
        COORD,
        "coord_attention",
        ("max(8, dim // reduction)", "max(1, dim // reduction)"),
    ),
    bug(
        "coord_as_a_residual",
        COORD,
        "coord_attention",
        ("return x * gate_h * gate_w", "return x + x * gate_h * gate_w"),
    ),
    # Depthwise separable convolution, and the layer that it is made of
    bug(
        "separable_with_bias",
        CONV,
        "depthwise_separable_conv",
        ("bias: bool = False,", "bias: bool = True,"),
    ),
    bug(
        "depthwise_without_groups",
        SEPARABLE,
        "depthwise_separable_conv",
        ("stride, groups=dim, act=act", "stride, act=act"),
    ),
    bug(
        "separable_linear_in_the_middle",
        SEPARABLE,
        "depthwise_separable_conv",
        ("stride, groups=dim, act=act", "stride, groups=dim, act=None"),
    ),
    bug(
        "separable_pointwise_first",
        SEPARABLE,
        "depthwise_separable_conv",
        ("x = self.depthwise(x)", "x = self.pointwise(x)"),
        ("return self.pointwise(x)", "return self.depthwise(x)"),
    ),
    bug(
        "batchnorm_of_another_eps",
        CONV,
        "mobilenet_v1",
        ("self.norm = norm(out_dim)", "self.norm = nn.BatchNorm2d(out_dim, eps=1e-3)"),
    ),
    # MobileNets
    bug(
        "separable_stride_on_pointwise",
        SEPARABLE,
        "mobilenet_v1",
        ("kernel_size, stride, groups=dim", "kernel_size, 1, groups=dim"),
        ("ConvNormAct(dim, out_dim, 1, act=act)", "ConvNormAct(dim, out_dim, 1, stride, act=act)"),
    ),
    bug("v1_stride_of_table_1", V1, "mobilenet_v1", ("((1024, 2), (1024, 1))", "((1024, 2), (1024, 2))")),
    bug(
        "relu_for_relu6",
        CONV,
        "mobilenet_v2_035",
        ("partial(nn.ReLU6, inplace=True)", "partial(nn.ReLU, inplace=True)"),
    ),
    bug(
        "v2_activation_after_projection",
        V2,
        "mobilenet_v2_035",
        ("hidden, out_dim, act=None", "hidden, out_dim, act=ReLU6"),
    ),
    bug(
        "v2_stride_on_expansion",
        V2,
        "mobilenet_v2_035",
        ("ConvNormAct(dim, hidden, act=ReLU6)", "ConvNormAct(dim, hidden, stride=stride, act=ReLU6)"),
        ("hidden, hidden, 3, stride, groups", "hidden, hidden, 3, 1, groups"),
    ),
    bug("v2_without_shortcut", V2, "mobilenet_v2_035", ("return x + y if self.has_shortcut else y", "return y")),
    bug("v2_narrow_head", V2, "mobilenet_v2_035", ("1280 * max(1.0, width_multiplier)", "1280 * width_multiplier")),
    bug(
        "make_divisible_more_than_ten_percent_below",
        "layers.make_divisible",
        "mobilenet_v2_035",
        ("return rounded + divisor if rounded < 0.9 * channels else rounded", "return rounded"),
    ),
    bug(
        "make_divisible_rounds_down",
        "layers.make_divisible",
        "mobilenet_v2_140",
        ("int(channels + divisor / 2)", "int(channels)"),
    ),
    bug(
        "dropout_in_evaluation",
        "layers.classifier",
        "mobilenet_v2_035",
        ("self.dropout, self.training)", "self.dropout)"),
    ),
    bug(
        "softmax_in_the_classifier",
        "layers.classifier",
        "mobilenet_v2_035",
        ("self.dropout, self.training))", "self.dropout, self.training)).softmax(1)"),
    ),
    # ResNet
    bug(
        "resnet_stride_on_the_first_1x1",
        RESNET,
        "resnet50",
        ("ConvNormAct(in_dim, inner, 1)", "ConvNormAct(in_dim, inner, 1, stride)"),
        ("inner, inner, 3, stride, groups", "inner, inner, 3, 1, groups"),
    ),
    bug(
        "resnet_relu_before_addition",
        RESNET,
        "resnet18",
        (
            "y = self.conv2(y)\n        y += self.shortcut(x)\n        return F.relu(y, inplace=True)",
            "y = self.conv2(y)\n        return F.relu(y) + self.shortcut(x)",
        ),
    ),
    bug(
        "resnet_without_shortcut",
        RESNET,
        "resnet18",
        (
            "y = self.conv2(y)\n        y += self.shortcut(x)\n        return F.relu(y, inplace=True)",
            "return F.relu(self.conv2(y))",
        ),
    ),
    bug(
        "resnet_pool_without_padding",
        RESNET,
        "resnet18",
        ("MaxPool2d(3, 2, padding=1)", "MaxPool2d(3, 2, ceil_mode=True)"),
    ),
    bug(
        "resnet_shortcut_without_batchnorm",
        RESNET,
        "resnet18",
        ("ConvNormAct(in_dim, out_dim, 1, stride, act=None)", "nn.Conv2d(in_dim, out_dim, 1, stride, bias=False)"),
    ),
    bug(
        "resnext_without_groups",
        RESNET,
        "resnext50_32x4d",
        ("inner, inner, 3, stride, groups=groups", "inner, inner, 3, stride"),
    ),
]
# The further groups of modules have a file each.
for path in sorted(Path(__file__).parent.glob("bugs_*.py")):
    MUTATIONS += importlib.import_module(path.stem).MUTATIONS
