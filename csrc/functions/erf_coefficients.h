// Made by coefficients.py, which says what these are; do not edit.
// clang-format off
#pragma once

namespace derf::coefficients {
template <class Scalar, int pieces, int degree> struct ErfValue;
template <class Scalar, int degree> struct ErfSlope;
template <int near_degree, int far_degree> struct ErfThread;

template <> struct ErfValue<double, 16, 12> {  // |P - exact| < 2^-55
  static constexpr int pieces = 16, degree = 12;
  static constexpr double width = 0x1.8000000000000p-2, kink = 0x1.2000000000000p+0;
  alignas(64) static constexpr double table[degree + 1][pieces] = {
      {0x1.d83ecffec36eep-4, 0x1.457ac9a6a1c4fp-6, -0x1.0b61b2d27c159p-3, -0x1.570768b2de197p-3,
       -0x1.028596bf381bbp-3, -0x1.d3fc77af8c872p-4, -0x1.c92c80438eeb2p-4, -0x1.c75d5d185a244p-4,
       -0x1.c7228cb462badp-4, -0x1.c71ce1f1f26b5p-4, -0x1.c71c77e8eb812p-4, -0x1.c71c7208644bbp-4,
       -0x1.c71c71c92c7dep-4, -0x1.c71c71c7291c4p-4, -0x1.c71c71c71caccp-4, -0x1.c71c71c71c729p-4},
      {-0x1.1ad8fe728fb0dp-3, -0x1.679e55f14d0eap-2, -0x1.b5e332cde440fp-2, 0x1.6eda6f67a6477p-3,
       0x1.dc66365fe8449p-5, 0x1.d2fc94c893d2ep-7, 0x1.59890e3d047a2p-9, 0x1.81fafaca91d8bp-12,
       0x1.4574ce19072f8p-15, 0x1.9e4a4e2617758p-19, 0x1.8e14bda58a14ep-23, 0x1.20bb0c59ccc7cp-27,
       0x1.3c277bd40aa61p-32, 0x1.054ff0095f871p-37, 0x1.4610d7611d742p-43, 0x1.331e3957db1e5p-49},
      {-0x1.6948b59e1edfap-2, -0x1.957878b9a0e22p-3, -0x1.96b59010877d9p-7, -0x1.e17eb2380a3e7p-3,
       -0x1.91f63de0ebf93p-4, -0x1.e194796ed86f7p-6, -0x1.a51f095a5d791p-8, -0x1.0f6478566e935p-10,
       -0x1.0359143bf1a50p-13, -0x1.70fa2d99ec571p-17, -0x1.87dc6aaef481bp-21, -0x1.3749a950dc5a9p-25,
       -0x1.727e451cc9946p-30, -0x1.4ab92bcce84eap-35, -0x1.bb3ee4cc783a9p-41, -0x1.be47eb6023670p-47},
      {0x1.4c6796aab8972p-4, 0x1.6262c6c4b0254p-3, 0x1.1daad1cca418ep-3, 0x1.2b060c23d3692p-3,
       0x1.74cea737b7338p-4, 0x1.242bb1c0d149dp-5, 0x1.395dcbbf0362bp-7, 0x1.dcb2221136fa5p-10,
       0x1.05ff1ce946b93p-12, 0x1.a4e5fd8f98029p-16, 0x1.f1bb19743c3f4p-20, 0x1.b372183a3a6e0p-24,
       0x1.1adc7e22ace2ep-28, 0x1.119a92ccd78c7p-33, 0x1.8ae5fb9303cd8p-39, 0x1.a9efb75f4f4e7p-45},
      {0x1.95f90c6998bf3p-4, 0x1.1354bdb0767c8p-6, -0x1.a83203f32f60fp-5, -0x1.1de339d148819p-6,
       -0x1.69233b9815281p-5, -0x1.ba134b78bf58cp-6, -0x1.37ba796c63aa9p-7, -0x1.21f1d6905931dp-9,
       -0x1.765512b486b9cp-12, -0x1.581d520740638p-15, -0x1.c94c797f8e1f0p-19, -0x1.bb8633fe719b7p-23,
       -0x1.3c0a76371a419p-27, -0x1.4c7fea7436c6cp-32, -0x1.032c568268951p-37, -0x1.2c2bffeec3578p-43},
      {-0x1.d0686f572ff6bp-6, -0x1.92fd6786b2c2dp-5, -0x1.379108f2ef598p-6, -0x1.1bc8690450152p-5,
       0x1.41563e6cf00d7p-9, 0x1.7ad1cda675f1dp-7, 0x1.a3d9bf4f8c5c8p-8, 0x1.fd5de55118fd3p-10,
       0x1.8eacbc026cff7p-12, 0x1.ab3a7bc6aa5b0p-15, 0x1.42cafdbba3eb9p-18, 0x1.5de196d9a20b9p-22,
       0x1.1312dbde591cbp-26, 0x1.3c22aea925404p-31, 0x1.0b0ab6c1bdf8dp-36, 0x1.4cf9f37d82820p-42},
      {-0x1.677ae23106151p-6, 0x1.2aefea7dd2280p-8, 0x1.20af561de470ep-6, 0x1.448bf3d3a318ep-6,
       0x1.54068537e2e2bp-7, -0x1.8aa3742002e1fp-11, -0x1.5dbf33437bbcap-9, -0x1.42e4e9e633778p-10,
       -0x1.43c51c54c329bp-12, -0x1.9f91e58b8df7ep-15, -0x1.6ab14bdc08c8ap-18, -0x1.bbd1542c4b68bp-22,
       -0x1.83a9f3f8efb72p-26, -0x1.e925406da0eb3p-31, -0x1.c175127d578b0p-36, -0x1.2e8f577d3c57dp-41},
      {0x1.d6a56e5cdcb88p-8, 0x1.418812343fc22p-7, -0x1.a5d2e4d76e672p-12, 0x1.adc099339ad1fp-11,
       -0x1.6e22dbf2bcdd5p-8, -0x1.2ea457ddc18f2p-9, 0x1.5d28cd580f9dbp-12, 0x1.1461af603a6a6p-11,
       0x1.8fe0eeed14972p-13, 0x1.414502030c3fcp-15, 0x1.4b2c79908b4f9p-18, 0x1.cf8b0f51fe938p-22,
       0x1.c5b41d942dc1bp-26, 0x1.3c211ede911a1p-30, 0x1.3d5b3f129591ep-35, 0x1.cedd8d90360f4p-41},
      {0x1.027001e8f9e9ap-8, -0x1.2092d0d646500p-9, -0x1.b1ef4ca326c77p-9, -0x1.27cf33e40e421p-8,
       0x1.17a11aaabbe56p-13, 0x1.6261d62ad6a63p-10, 0x1.82cc231b4e570p-12, -0x1.bf9495283de87p-14,
       -0x1.67ca27d318d1bp-14, -0x1.8a29031c0e5ffp-16, -0x1.f08eefc1e7fc8p-19, -0x1.94a7087e17751p-22,
       -0x1.c09c01f5a7e4fp-26, -0x1.5bafda59cd1a9p-30, -0x1.7f3d04926bbcbp-35, -0x1.2fde1255c2f23p-40},
      {-0x1.7811ea193cef5p-10, -0x1.82ea1293a11adp-10, 0x1.80dd0640ae167p-11, 0x1.2f45525018987p-10,
       0x1.0fadcb4b98ebep-10, -0x1.65bb63fc78bb9p-13, -0x1.156d4011cd6b8p-12, -0x1.2c732f8daf9acp-15,
       0x1.8d689e0ae3854p-16, 0x1.763e9628fb0d5p-17, 0x1.31b18603b0186p-19, 0x1.2996ef8b1f996p-22,
       0x1.7adcd6630a5b2p-26, 0x1.49523259af262p-30, 0x1.90a7a1975c9d4p-35, 0x1.5a8c5feed009ep-40},
      {-0x1.36e36f6cf68c2p-11, 0x1.10f1678741997p-11, 0x1.a9e42831fa130p-12, 0x1.057a4529dcef9p-11,
       -0x1.87914b1f49398p-12, -0x1.64707c995d5d5p-13, 0x1.09df31770dd8cp-14, 0x1.48227caeeb482p-15,
       0x1.4425a6e518f7ep-23, -0x1.f9f7865d67c6ap-19, -0x1.30efa3c86c3fdp-20, -0x1.718df4186cf17p-23,
       -0x1.138d6dc6bdf67p-26, -0x1.0fd08e9582598p-30, -0x1.6ff37a885e978p-35, -0x1.5d54554e0fd0ap-40},
      {0x1.e934920ae4f58p-13, 0x1.641bedbe54d50p-13, -0x1.6f3abc3a5721dp-13, -0x1.3df5c843bc3d4p-12,
       -0x1.d7a0dda082cd6p-15, 0x1.7b1a3ded3c40ep-14, 0x1.0617dd49f2530p-16, -0x1.d4017c287ca28p-17,
       -0x1.0d7446efa8a9fp-18, 0x1.3ec2e7ebd5999p-21, 0x1.da0314b65abdep-22, 0x1.8705014a4c037p-24,
       0x1.63a78b24d5ec6p-27, 0x1.98dddddf4237bp-31, 0x1.3a86630b7a850p-35, 0x1.4e04deb82eb9ep-40},
      {0x1.3c4430e662019p-14, -0x1.6fd17461ab01dp-14, -0x1.f5b518aa26e03p-16, -0x1.2bf689fc4845dp-17,
       0x1.2aed81e42144fp-14, -0x1.63ac8c7efb5a5p-18, -0x1.073bba3568f89p-16, 0x1.4a214bf73ce07p-21,
       0x1.1680cb38d4bc0p-19, 0x1.ca730d0e14e38p-23, -0x1.f12f9571d8389p-24, -0x1.4bd493cd99226p-25,
       -0x1.7cc0f7457a127p-28, -0x1.00ca1111778d6p-31, -0x1.bf9ed53f83ca0p-36, -0x1.07b54c6804bc8p-40},
  };
};

template <> struct ErfValue<float, 16, 5> {  // |P - exact| < 2^-27
  static constexpr int pieces = 16, degree = 5;
  static constexpr float width = 0x1.0000000000000p-2f, kink = 0x1.0000000000000p+0f;
  alignas(64) static constexpr float table[degree + 1][pieces] = {
      {0x1.f5e1a20000000p-4f, 0x1.3e08c80000000p-4f, -0x1.70e9e20000000p-9f, -0x1.a9a1f40000000p-4f, -0x1.c9296c0000000p-4f, -0x1.a8973a0000000p-5f, -0x1.612d880000000p-6f, -0x1.0678440000000p-7f,
       -0x1.5bde740000000p-9f, -0x1.9a7c3e0000000p-11f, -0x1.aeb4680000000p-13f, -0x1.916fc80000000p-15f, -0x1.4c14c40000000p-17f, -0x1.e74a660000000p-20f, -0x1.3ce8d40000000p-22f, -0x1.6d338e0000000p-25f},
      {-0x1.7d900c0000000p-4f, -0x1.09ac3c0000000p-2f, -0x1.7edef60000000p-2f, -0x1.b293240000000p-2f, 0x1.45e99c0000000p-2f, 0x1.5ce5960000000p-3f, 0x1.499d480000000p-4f, 0x1.12ceb40000000p-5f,
       0x1.94624e0000000p-7f, 0x1.06918c0000000p-8f, 0x1.2ce89a0000000p-10f, 0x1.3053940000000p-12f, 0x1.0f9e240000000p-14f, 0x1.abe0ba0000000p-17f, 0x1.296a920000000p-19f, 0x1.6ce1ee0000000p-22f},
      {-0x1.766af00000000p-2f, -0x1.276b4e0000000p-2f, -0x1.5276620000000p-3f, -0x1.4579d80000000p-5f, -0x1.6ea75e0000000p-2f, -0x1.dfbd440000000p-3f, -0x1.0bd0d40000000p-3f, -0x1.01a2600000000p-4f,
       -0x1.ada76c0000000p-6f, -0x1.37c9440000000p-7f, -0x1.8ae6ee0000000p-9f, -0x1.b5630c0000000p-11f, -0x1.a845820000000p-13f, -0x1.68d9fa0000000p-15f, -0x1.0d594c0000000p-17f, -0x1.61243a0000000p-20f},
      {0x1.c5a7700000000p-5f, 0x1.24d5f40000000p-3f, 0x1.671bb20000000p-3f, 0x1.367b440000000p-3f, 0x1.4cb31e0000000p-3f, 0x1.4374f20000000p-3f, 0x1.d664000000000p-4f, 0x1.143dd20000000p-4f,
       0x1.0ea5000000000p-5f, 0x1.c1ebee0000000p-7f, 0x1.407e2e0000000p-8f, 0x1.89dc9e0000000p-10f, 0x1.a369a60000000p-12f, 0x1.84430c0000000p-14f, 0x1.3938660000000p-16f, 0x1.b9395c0000000p-19f},
      {0x1.b2663c0000000p-4f, 0x1.00cfec0000000p-4f, 0x1.039ae00000000p-9f, -0x1.6bb9820000000p-5f, 0x1.d03d740000000p-6f, -0x1.eb3da60000000p-6f, -0x1.9488000000000p-5f, -0x1.5966620000000p-5f,
       -0x1.b095fe0000000p-6f, -0x1.b0bb940000000p-7f, -0x1.6648060000000p-8f, -0x1.f44fb20000000p-10f, -0x1.29e9520000000p-11f, -0x1.30cdf20000000p-13f, -0x1.0d4d700000000p-15f, -0x1.9c79b80000000p-18f},
      {-0x1.3ef42a0000000p-6f, -0x1.7b08de0000000p-5f, -0x1.7d051c0000000p-5f, -0x1.a315060000000p-6f, -0x1.f485340000000p-5f, -0x1.f5fb8e0000000p-6f, -0x1.2ac0380000000p-9f, 0x1.73d36a0000000p-7f,
       0x1.9803320000000p-7f, 0x1.11f1f60000000p-7f, 0x1.1576f80000000p-8f, 0x1.c45e120000000p-10f, 0x1.31c6240000000p-11f, 0x1.5c7ff80000000p-13f, 0x1.525af60000000p-15f, 0x1.19cf100000000p-17f},
  };
};

template <> struct ErfValue<float, 16, 3> {  // |P - exact| < 2^-18
  static constexpr int pieces = 16, degree = 3;
  static constexpr float width = 0x1.0000000000000p-2f, kink = 0x1.0000000000000p+0f;
  alignas(64) static constexpr float table[degree + 1][pieces] = {
      {0x1.f5de3c0000000p-4f, 0x1.3e06c60000000p-4f, -0x1.70ebe00000000p-9f, -0x1.a9a0880000000p-4f, -0x1.c92a540000000p-4f, -0x1.a8954e0000000p-5f, -0x1.6127340000000p-6f, -0x1.066d760000000p-7f,
       -0x1.5bc36c0000000p-9f, -0x1.9a46320000000p-11f, -0x1.ae5afa0000000p-13f, -0x1.90f2fe0000000p-15f, -0x1.4b80480000000p-17f, -0x1.e61ace0000000p-20f, -0x1.3bdcd80000000p-22f, -0x1.6b997c0000000p-25f},
      {-0x1.7d8f6c0000000p-4f, -0x1.09abde0000000p-2f, -0x1.7ede960000000p-2f, -0x1.b292f00000000p-2f, 0x1.45ea1a0000000p-2f, 0x1.5ce6140000000p-3f, 0x1.499d5a0000000p-4f, 0x1.12cdf80000000p-5f,
       0x1.945f1e0000000p-7f, 0x1.068d440000000p-8f, 0x1.2cdff00000000p-10f, 0x1.3045760000000p-12f, 0x1.0f8b100000000p-14f, 0x1.abb5440000000p-17f, 0x1.2940680000000p-19f, 0x1.6c9bbe0000000p-22f},
      {-0x1.74b8700000000p-2f, -0x1.266a740000000p-2f, -0x1.52663a0000000p-3f, -0x1.4b294c0000000p-5f, -0x1.6e335e0000000p-2f, -0x1.e0b3100000000p-3f, -0x1.0d657a0000000p-3f, -0x1.04553e0000000p-4f,
       -0x1.b469a60000000p-6f, -0x1.3e8bcc0000000p-7f, -0x1.9618080000000p-9f, -0x1.c503320000000p-11f, -0x1.bae05c0000000p-13f, -0x1.7be2000000000p-15f, -0x1.1e28e00000000p-17f, -0x1.7ae22e0000000p-20f},
      {0x1.c3295e0000000p-5f, 0x1.235ad40000000p-3f, 0x1.659e9c0000000p-3f, 0x1.35a9b60000000p-3f, 0x1.4abe860000000p-3f, 0x1.4279f60000000p-3f, 0x1.d63ec20000000p-4f, 0x1.14f7d00000000p-4f,
       0x1.103d120000000p-5f, 0x1.c633b20000000p-7f, 0x1.44d3de0000000p-8f, 0x1.90ed8c0000000p-10f, 0x1.acf6be0000000p-12f, 0x1.8f255c0000000p-14f, 0x1.43c9280000000p-16f, 0x1.cad20a0000000p-19f},
  };
};

template <> struct ErfValue<float, 8, 6> {  // |P - exact| < 2^-25
  static constexpr int pieces = 8, degree = 6;
  static constexpr float width = 0x1.0000000000000p-1f, kink = 0x1.0000000000000p+0f;
  alignas(64) static constexpr float table[degree + 1][pieces] = {
      {0x1.af54e20000000p-4f, -0x1.a848b80000000p-5f, -0x1.3bcd140000000p-4f, -0x1.b4be200000000p-7f, -0x1.7f71400000000p-10f, -0x1.a609f80000000p-14f, -0x1.20c1300000000p-18f, -0x1.e874700000000p-24f},
      {-0x1.7306e40000000p-3f, -0x1.a0cdd00000000p-2f, 0x1.e4653e0000000p-3f, 0x1.b054da0000000p-5f, 0x1.d413ea0000000p-8f, 0x1.3363160000000p-11f, 0x1.e9c9ba0000000p-16f, 0x1.d975540000000p-21f},
      {-0x1.57664a0000000p-2f, -0x1.9a7da80000000p-4f, -0x1.2ebf480000000p-2f, -0x1.7a4a860000000p-4f, -0x1.074b440000000p-6f, -0x1.a6a5400000000p-10f, -0x1.8de6260000000p-14f, -0x1.bbae260000000p-19f},
      {0x1.acd1560000000p-4f, 0x1.5ac6aa0000000p-3f, 0x1.57165a0000000p-3f, 0x1.715e280000000p-4f, 0x1.63f9860000000p-6f, 0x1.6986060000000p-9f, 0x1.9967d00000000p-13f, 0x1.097a3e0000000p-17f},
      {0x1.6ca6a80000000p-4f, -0x1.974f800000000p-6f, -0x1.9267860000000p-8f, -0x1.8a12900000000p-5f, -0x1.38b7d20000000p-6f, -0x1.ab02960000000p-9f, -0x1.2c32420000000p-12f, -0x1.cf20d60000000p-17f},
      {-0x1.1e7a4a0000000p-5f, -0x1.31523a0000000p-5f, -0x1.7f32c20000000p-5f, 0x1.87349c0000000p-8f, 0x1.5ab9ca0000000p-7f, 0x1.7263d60000000p-9f, 0x1.5cc4420000000p-12f, 0x1.52f6660000000p-16f},
      {-0x1.280db20000000p-6f, 0x1.d15e3a0000000p-7f, 0x1.52e6800000000p-6f, 0x1.2831e60000000p-7f, -0x1.6e5da00000000p-9f, -0x1.b4e3360000000p-10f, -0x1.1db69e0000000p-12f, -0x1.5823160000000p-16f},
  };
};

template <> struct ErfValue<float, 8, 4> {  // |P - exact| < 2^-18
  static constexpr int pieces = 8, degree = 4;
  static constexpr float width = 0x1.0000000000000p-1f, kink = 0x1.0000000000000p+0f;
  alignas(64) static constexpr float table[degree + 1][pieces] = {
      {0x1.af54e20000000p-4f, -0x1.a848b80000000p-5f, -0x1.3bcd140000000p-4f, -0x1.b4be200000000p-7f, -0x1.7f71400000000p-10f, -0x1.a609f80000000p-14f, -0x1.20c1300000000p-18f, -0x1.e874700000000p-24f},
      {-0x1.72f0760000000p-3f, -0x1.a0c1e00000000p-2f, 0x1.e483320000000p-3f, 0x1.b0456e0000000p-5f, 0x1.d33b120000000p-8f, 0x1.3195140000000p-11f, 0x1.e3026c0000000p-16f, 0x1.cc529e0000000p-21f},
      {-0x1.5760800000000p-2f, -0x1.9a8fe20000000p-4f, -0x1.2ec5ea0000000p-2f, -0x1.7a56160000000p-4f, -0x1.073ce80000000p-6f, -0x1.a61cc80000000p-10f, -0x1.8c82040000000p-14f, -0x1.b856520000000p-19f},
      {0x1.a19e540000000p-4f, 0x1.54cf6a0000000p-3f, 0x1.4f99e20000000p-3f, 0x1.7348ae0000000p-4f, 0x1.7185860000000p-6f, 0x1.86709e0000000p-9f, 0x1.cfcfba0000000p-13f, 0x1.3e4cca0000000p-17f},
      {0x1.66dda00000000p-4f, -0x1.851e160000000p-6f, -0x1.28689c0000000p-8f, -0x1.8449ee0000000p-5f, -0x1.3c4cc20000000p-6f, -0x1.bc12cc0000000p-9f, -0x1.427f260000000p-12f, -0x1.02671c0000000p-16f},
  };
};

template <> struct ErfSlope<double, 11> {  // relative error < 2^-56
  static constexpr int degree = 11;
  static constexpr double polynomial[degree + 1] = {
       0x1.20dd750429b6dp+0, -0x1.20dd750429b6dp+0, 0x1.20dd750429b80p-1, -0x1.812746b0379edp-3,
       0x1.812746b030878p-5, -0x1.341f6bc02a507p-7, 0x1.9ad48fca5fe26p-10, -0x1.d585368d88eabp-13,
       0x1.d584b8274dcecp-16, -0x1.a159a9d08b4b1p-19, 0x1.4ecb31370520ap-22, -0x1.e6c4ae5fbe5cap-26};
};

template <> struct ErfSlope<float, 5> {  // relative error < 2^-22.5
  static constexpr int degree = 5;
  static constexpr float polynomial[degree + 1] = {
       0x1.20dd760000000p+0f, -0x1.20dd760000000p+0f, 0x1.20dbc80000000p-1f, -0x1.8126520000000p-3f,
       0x1.8378dc0000000p-5f, -0x1.35726e0000000p-7f};
};

template <> struct ErfSlope<float, 4> {  // relative error < 2^-17.5
  static constexpr int degree = 4;
  static constexpr float polynomial[degree + 1] = {
       0x1.20dd760000000p+0f, -0x1.20daac0000000p+0f, 0x1.20dc880000000p-1f, -0x1.840d960000000p-3f,
       0x1.8315cc0000000p-5f};
};

template <> struct ErfThread<6, 5> {  // relative error < 2^-26.5
  static constexpr float join = 0x1.2000000000000p+0f;
  struct Near {
    static constexpr int degree = 6;
    static constexpr float polynomial[degree + 1] = {
       0x1.06eba80000000p-3f, -0x1.8127260000000p-2f, 0x1.ce28b00000000p-4f, -0x1.b7b2fc0000000p-6f,
       0x1.52008c0000000p-8f, -0x1.963f400000000p-11f, 0x1.2685820000000p-14f};
  };
  struct Far {
    static constexpr int degree = 5;
    static constexpr float polynomial[degree + 1] = {
       -0x1.7238a00000000p-8f, -0x1.9b388a0000000p+0f, -0x1.e734340000000p-1f, -0x1.f90f500000000p-4f,
       0x1.46812a0000000p-6f, -0x1.877f360000000p-10f};
  };
};

template <> struct ErfThread<2, 5> {  // relative error < 2^-18.5
  static constexpr float join = 0x1.8000000000000p-2f;
  struct Near {
    static constexpr int degree = 2;
    static constexpr float polynomial[degree + 1] = {
       0x1.06ea780000000p-3f, -0x1.80dba40000000p-2f, 0x1.b7a2920000000p-4f};
  };
  struct Far {
    static constexpr int degree = 5;
    static constexpr float polynomial[degree + 1] = {
       -0x1.0c444e0000000p-13f, -0x1.a081ce0000000p+0f, -0x1.d779280000000p-1f, -0x1.2ae5600000000p-3f,
       0x1.cd34220000000p-6f, -0x1.5d40420000000p-9f};
  };
};

template <> struct ErfThread<2, 3> {  // relative error < 2^-15.5
  static constexpr float join = 0x1.1800000000000p-1f;
  struct Near {
    static constexpr int degree = 2;
    static constexpr float polynomial[degree + 1] = {
       0x1.06e0a60000000p-3f, -0x1.7fde740000000p-2f, 0x1.9fc0d80000000p-4f};
  };
  struct Far {
    static constexpr int degree = 3;
    static constexpr float polynomial[degree + 1] = {
       -0x1.b9d84e0000000p-7f, -0x1.902ec60000000p+0f, -0x1.0835ea0000000p+0f, -0x1.e985cc0000000p-5f};
  };
};
}  // namespace derf::coefficients
