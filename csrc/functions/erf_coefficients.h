// Made by coefficients.py, which says what these are; do not edit.
// clang-format off
#pragma once

namespace derf::coefficients {
template <class Scalar, int pieces, int degree> struct ErfValue;
template <int pieces, int degree> struct ErfRatio;
template <int pieces, int degree, bool in_base_2> struct ErfCentral;
template <class Scalar, int entries, int degree, bool in_base_2> struct ErfSlope;
template <class Scalar> struct ErfJoined;
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

template <> struct ErfRatio<16, 2> {  // relative error < 2^-14.6
  static constexpr int pieces = 16, degree = 2;
  static constexpr double unit = 0x1.851eb851eb852p-3;
  static constexpr float width = 1, end = 0x1.eff34e0000000p+3f;
  alignas(64) static constexpr float table[degree + 1][pieces] = {
      {0x1.b713380000000p-3f, 0x1.b1d91e0000000p-3f, 0x1.a2d3600000000p-3f, 0x1.8bd2280000000p-3f, 0x1.6f60fa0000000p-3f, 0x1.503ca40000000p-3f, 0x1.30d6ba0000000p-3f, 0x1.1305840000000p-3f,
       0x1.efd3e40000000p-4f, 0x1.c003ba0000000p-4f, 0x1.96a5a00000000p-4f, 0x1.7333b80000000p-4f, 0x1.54e7080000000p-4f, 0x1.3aed2e0000000p-4f, 0x1.2485a60000000p-4f, 0x1.110d220000000p-4f},
      {-0x1.7bf1100000000p-19f, -0x1.499a6c0000000p-8f, -0x1.3527200000000p-7f, -0x1.a185e60000000p-7f, -0x1.e2751e0000000p-7f, -0x1.f90afc0000000p-7f, -0x1.ecef9e0000000p-7f, -0x1.c919160000000p-7f,
       -0x1.9897560000000p-7f, -0x1.6463b60000000p-7f, -0x1.327dd20000000p-7f, -0x1.06144e0000000p-7f, -0x1.c078200000000p-8f, -0x1.8187940000000p-8f, -0x1.4dc0240000000p-8f, -0x1.2313880000000p-8f},
      {-0x1.509ac40000000p-9f, -0x1.3c0a180000000p-9f, -0x1.010d8c0000000p-9f, -0x1.5cca740000000p-10f, -0x1.56d34a0000000p-11f, -0x1.b48fac0000000p-15f, 0x1.a160ca0000000p-12f, 0x1.6072be0000000p-11f,
       0x1.9dd4da0000000p-11f, 0x1.9eed860000000p-11f, 0x1.7c18260000000p-11f, 0x1.4970a80000000p-11f, 0x1.145f1a0000000p-11f, 0x1.c81f880000000p-12f, 0x1.767b280000000p-12f, 0x1.3648ea0000000p-12f},
  };
};

template <> struct ErfRatio<16, 3> {  // relative error < 2^-19
  static constexpr int pieces = 16, degree = 3;
  static constexpr double unit = 0x1.c28f5c28f5c29p-3;
  static constexpr float width = 1, end = 0x1.eff34e0000000p+3f;
  alignas(64) static constexpr float table[degree + 1][pieces] = {
      {0x1.fc67080000000p-3f, 0x1.f451380000000p-3f, 0x1.dd6a040000000p-3f, 0x1.bb4ed00000000p-3f, 0x1.92c8c60000000p-3f, 0x1.6888520000000p-3f, 0x1.4031800000000p-3f, 0x1.1bf7480000000p-3f,
       0x1.f971160000000p-4f, 0x1.c4c9580000000p-4f, 0x1.98d6420000000p-4f, 0x1.7421e60000000p-4f, 0x1.5544d00000000p-4f, 0x1.3b0f720000000p-4f, 0x1.2491480000000p-4f, 0x1.1110e00000000p-4f},
      {0x1.e40d940000000p-20f, -0x1.fdf4e20000000p-8f, -0x1.d3f9f80000000p-7f, -0x1.3128420000000p-6f, -0x1.50d7220000000p-6f, -0x1.4e48cc0000000p-6f, -0x1.343ab00000000p-6f, -0x1.0e4dd40000000p-6f,
       -0x1.cb86880000000p-7f, -0x1.808d240000000p-7f, -0x1.40a3440000000p-7f, -0x1.0c86980000000p-7f, -0x1.c5c0300000000p-8f, -0x1.836a720000000p-8f, -0x1.4e46520000000p-8f, -0x1.233e740000000p-8f},
      {-0x1.07a7780000000p-8f, -0x1.deeae60000000p-9f, -0x1.68e26c0000000p-9f, -0x1.9a22a40000000p-10f, -0x1.a860d20000000p-12f, 0x1.00e8ca0000000p-11f, 0x1.0c9c2a0000000p-10f, 0x1.429fa40000000p-10f,
       0x1.3ca77c0000000p-10f, 0x1.172ab20000000p-10f, 0x1.cf55f20000000p-11f, 0x1.74e0440000000p-11f, 0x1.28eb1c0000000p-11f, 0x1.d9ddb40000000p-12f, 0x1.7d853c0000000p-12f, 0x1.36dcb40000000p-12f},
      {0x1.e58a7e0000000p-15f, 0x1.ca83d60000000p-13f, 0x1.8103100000000p-12f, 0x1.ac9d240000000p-12f, 0x1.716d500000000p-12f, 0x1.f658f80000000p-13f, 0x1.f2664e0000000p-14f, 0x1.90897a0000000p-16f,
       -0x1.18706c0000000p-15f, -0x1.e492900000000p-15f, -0x1.fd83ba0000000p-15f, -0x1.bfffae0000000p-15f, -0x1.6979ac0000000p-15f, -0x1.1854e40000000p-15f, -0x1.ad5e320000000p-16f, -0x1.49b6980000000p-16f},
  };
};

template <> struct ErfRatio<8, 3> {  // relative error < 2^-15.5
  static constexpr int pieces = 8, degree = 3;
  static constexpr double unit = 0x1.a3d70a3d70a3dp-2;
  static constexpr float width = 1, end = 0x1.dff3b60000000p+2f;
  alignas(64) static constexpr float table[degree + 1][pieces] = {
      {0x1.d9bcf20000000p-2f, 0x1.c079ae0000000p-2f, 0x1.81f4580000000p-2f, 0x1.395dd40000000p-2f, 0x1.f592580000000p-3f, 0x1.98115c0000000p-3f, 0x1.55291e0000000p-3f, 0x1.248ed40000000p-3f},
      {0x1.4d94a40000000p-15f, -0x1.80557e0000000p-5f, -0x1.203a340000000p-4f, -0x1.16ae8c0000000p-4f, -0x1.b53ae40000000p-5f, -0x1.3b1e420000000p-5f, -0x1.c3e8980000000p-6f, -0x1.4e08a60000000p-6f},
      {-0x1.af427a0000000p-6f, -0x1.31bcde0000000p-6f, -0x1.2ece940000000p-8f, 0x1.60918a0000000p-8f, 0x1.05767c0000000p-7f, 0x1.ab6eac0000000p-8f, 0x1.2232f00000000p-8f, 0x1.7cef900000000p-9f},
      {0x1.512e000000000p-10f, 0x1.14516c0000000p-8f, 0x1.270ae20000000p-8f, 0x1.08135a0000000p-9f, -0x1.1e98440000000p-14f, -0x1.7adf2e0000000p-11f, -0x1.45ff7a0000000p-11f, -0x1.a268d60000000p-12f},
  };
};

template <> struct ErfRatio<8, 4> {  // relative error < 2^-18.9
  static constexpr int pieces = 8, degree = 4;
  static constexpr double unit = 0x1.ccccccccccccdp-2;
  static constexpr float width = 1, end = 0x1.dff3b60000000p+2f;
  alignas(64) static constexpr float table[degree + 1][pieces] = {
      {0x1.03fa820000000p-1f, 0x1.e6e4ae0000000p-2f, 0x1.98045a0000000p-2f, 0x1.4223320000000p-2f, 0x1.fa6a120000000p-3f, 0x1.99003a0000000p-3f, 0x1.5549980000000p-3f, 0x1.2491b00000000p-3f},
      {0x1.8f49600000000p-21f, -0x1.f1f21e0000000p-5f, -0x1.6167900000000p-4f, -0x1.3d7a360000000p-4f, -0x1.d1b4a60000000p-5f, -0x1.41f0820000000p-5f, -0x1.c61a360000000p-6f, -0x1.4e4cd60000000p-6f},
      {-0x1.18deca0000000p-5f, -0x1.7bd06a0000000p-6f, -0x1.54ee2a0000000p-9f, 0x1.2e03700000000p-7f, 0x1.4dbd980000000p-7f, 0x1.d8749e0000000p-8f, 0x1.2a23ec0000000p-8f, 0x1.7d6f040000000p-9f},
      {0x1.e42ee20000000p-15f, 0x1.a3729c0000000p-8f, 0x1.870dfe0000000p-8f, 0x1.e3fb9e0000000p-10f, -0x1.5fe77a0000000p-11f, -0x1.0fc5520000000p-10f, -0x1.728a7c0000000p-11f, -0x1.b14f560000000p-12f},
      {0x1.03c3900000000p-9f, 0x1.af6aec0000000p-11f, -0x1.c435ee0000000p-11f, -0x1.f64cfc0000000p-11f, -0x1.3b42340000000p-12f, 0x1.9e072a0000000p-15f, 0x1.779dac0000000p-14f, 0x1.d5decc0000000p-15f},
  };
};

template <> struct ErfCentral<16, 5, false> {  // error < 2^-26, near 0 relatively
  static constexpr int pieces = 16, degree = 5;
  static constexpr float width = 0x1.0000000000000p-2f;
  alignas(64) static constexpr float table[degree + 1][pieces] = {
      {0x0.0p+0f, 0x1.1af54e0000000p-2f, 0x1.0a7ef60000000p-1f, 0x1.6c1c980000000p-1f, 0x1.af767a0000000p-1f, 0x1.d8865e0000000p-1f, 0x1.eea5560000000p-1f, 0x1.f92d080000000p-1f,
       0x1.fd9ae20000000p-1f, 0x1.ff40480000000p-1f, 0x1.ffcaa80000000p-1f, 0x1.fff2d00000000p-1f, 0x1.fffd1a0000000p-1f, 0x1.ffff700000000p-1f, 0x1.ffffe80000000p-1f, 0x1.fffffc0000000p-1f},
      {0x1.20dd760000000p+0f, 0x1.0f5d160000000p+0f, 0x1.c1efca0000000p-1f, 0x1.492e420000000p-1f, 0x1.a911f00000000p-2f, 0x1.e465300000000p-3f, 0x1.e723720000000p-4f, 0x1.b055300000000p-5f,
       0x1.529b9e0000000p-6f, 0x1.d4143a0000000p-8f, 0x1.1d83180000000p-9f, 0x1.3360d00000000p-11f, 0x1.2408f00000000p-13f, 0x1.e9b6000000000p-16f, 0x1.6a59900000000p-18f, 0x1.d937640000000p-21f},
      {0x1.a79d880000000p-23f, -0x1.0f5ba20000000p-2f, -0x1.c1ee000000000p-2f, -0x1.edc46e0000000p-2f, -0x1.a9121a0000000p-2f, -0x1.2ec0000000000p-2f, -0x1.6d5bfa0000000p-3f, -0x1.7a4bd60000000p-4f,
       -0x1.529bc40000000p-5f, -0x1.0749b80000000p-6f, -0x1.64dd6e0000000p-8f, -0x1.a695ce0000000p-10f, -0x1.b5f20c0000000p-12f, -0x1.8dbcac0000000p-14f, -0x1.3cdff40000000p-16f, -0x1.bb478c0000000p-19f},
      {-0x1.812a720000000p-2f, -0x1.3c96b00000000p-2f, -0x1.2bf5940000000p-3f, 0x1.b6ddc80000000p-6f, 0x1.1b60340000000p-3f, 0x1.571cbe0000000p-3f, 0x1.1c2a5a0000000p-3f, 0x1.7149a20000000p-4f,
       0x1.8b0bdc0000000p-5f, 0x1.63efc60000000p-6f, 0x1.119d020000000p-7f, 0x1.69cc4e0000000p-9f, 0x1.9db0160000000p-11f, 0x1.9a97f60000000p-13f, 0x1.62bba60000000p-15f, 0x1.0b571e0000000p-17f},
      {0x1.00691c0000000p-12f, 0x1.021e900000000p-3f, 0x1.748dbe0000000p-3f, 0x1.3351a80000000p-3f, 0x1.1bd0980000000p-4f, -0x1.7318f20000000p-8f, -0x1.69a6b60000000p-5f, -0x1.8854780000000p-5f,
       -0x1.1a14680000000p-5f, -0x1.39c54c0000000p-6f, -0x1.1caf060000000p-7f, -0x1.b024c00000000p-9f, -0x1.1654ea0000000p-10f, -0x1.3300620000000p-12f, -0x1.23bb220000000p-14f, -0x1.dfbefc0000000p-17f},
      {0x1.c73bc60000000p-4f, 0x1.4659aa0000000p-4f, 0x1.e82d320000000p-8f, -0x1.b0a3640000000p-5f, -0x1.19edaa0000000p-4f, -0x1.81ced40000000p-5f, -0x1.eac2120000000p-7f, 0x1.a8da200000000p-8f,
       0x1.aa4ec40000000p-7f, 0x1.5cb6000000000p-7f, 0x1.91bba00000000p-8f, 0x1.6b30aa0000000p-9f, 0x1.0ce2080000000p-10f, 0x1.4d3aa80000000p-12f, 0x1.5e2af00000000p-14f, 0x1.3aa7e40000000p-16f},
  };
};

template <> struct ErfCentral<8, 6, false> {  // error < 2^-24.5, near 0 relatively
  static constexpr int pieces = 8, degree = 6;
  static constexpr float width = 0x1.0000000000000p-1f;
  alignas(64) static constexpr float table[degree + 1][pieces] = {
      {0x0.0p+0f, 0x1.0a7ef60000000p-1f, 0x1.af767a0000000p-1f, 0x1.eea5560000000p-1f, 0x1.fd9ae20000000p-1f, 0x1.ffcaa80000000p-1f, 0x1.fffd1a0000000p-1f, 0x1.ffffe80000000p-1f},
      {0x1.20dd760000000p+0f, 0x1.c1efce0000000p-1f, 0x1.a9120c0000000p-2f, 0x1.e723520000000p-4f, 0x1.529b3e0000000p-6f, 0x1.1d838e0000000p-9f, 0x1.240e880000000p-13f, 0x1.6a74ea0000000p-18f},
      {-0x1.ce47900000000p-21f, -0x1.c1efb80000000p-2f, -0x1.a911f80000000p-2f, -0x1.6d5a9e0000000p-3f, -0x1.529b880000000p-5f, -0x1.64e3be0000000p-8f, -0x1.b60e520000000p-12f, -0x1.3d12400000000p-16f},
      {-0x1.811cb60000000p-2f, -0x1.2bfe7e0000000p-3f, 0x1.1b467a0000000p-3f, 0x1.1c32340000000p-3f, 0x1.8b23240000000p-5f, 0x1.118ece0000000p-7f, 0x1.9d03820000000p-11f, 0x1.6116540000000p-15f},
      {-0x1.6a783c0000000p-11f, 0x1.76e0c40000000p-3f, 0x1.1b71fa0000000p-4f, -0x1.6d49960000000p-5f, -0x1.1a37900000000p-5f, -0x1.1a916c0000000p-7f, -0x1.11a9d00000000p-10f, -0x1.1b88000000000p-14f},
      {0x1.e43c640000000p-4f, 0x1.02bdb80000000p-7f, -0x1.14a8120000000p-4f, -0x1.f7a9e80000000p-7f, 0x1.a0c8060000000p-7f, 0x1.94a7920000000p-8f, 0x1.15b5b00000000p-10f, 0x1.73aace0000000p-14f},
      {-0x1.3ef42a0000000p-6f, -0x1.910c700000000p-5f, 0x1.0cb59a0000000p-8f, 0x1.3864d20000000p-6f, 0x1.4ad9220000000p-11f, -0x1.6afac40000000p-9f, -0x1.8a9a9a0000000p-11f, -0x1.55f6f60000000p-14f},
  };
};

template <> struct ErfCentral<16, 3, true> {  // error < 2^-17, near 0 relatively
  static constexpr int pieces = 16, degree = 3;
  static constexpr float width = 0x1.0000000000000p-2f;
  alignas(64) static constexpr float table[degree + 1][pieces] = {
      {0x0.0p+0f, 0x1.da21d60000000p-3f, 0x1.c697c20000000p-2f, 0x1.3edea00000000p-1f, 0x1.859d5e0000000p-1f, 0x1.b7c39a0000000p-1f, 0x1.d8621c0000000p-1f, 0x1.ebd9e40000000p-1f,
       0x1.f6831c0000000p-1f, 0x1.fbde7a0000000p-1f, 0x1.fe56bc0000000p-1f, 0x1.ff62320000000p-1f, 0x1.ffca020000000p-1f, 0x1.ffeefa0000000p-1f, 0x1.fffb0e0000000p-1f, 0x1.fffeae0000000p-1f},
      {0x1.e0fdfe0000000p-1f, 0x1.cc994e0000000p-1f, 0x1.9476d20000000p-1f, 0x1.45b1720000000p-1f, 0x1.e0fe200000000p-2f, 0x1.45b19e0000000p-2f, 0x1.94772e0000000p-3f, 0x1.cc99b40000000p-4f,
       0x1.e0fde60000000p-5f, 0x1.cc98de0000000p-6f, 0x1.94758e0000000p-7f, 0x1.45af5c0000000p-8f, 0x1.e0f8e00000000p-10f, 0x1.45ac1c0000000p-11f, 0x1.946d400000000p-13f, 0x1.cc8a0a0000000p-15f},
      {-0x1.2b8d680000000p-14f, -0x1.3d96e20000000p-3f, -0x1.1703a60000000p-2f, -0x1.5146900000000p-2f, -0x1.4c6d9e0000000p-2f, -0x1.19c41c0000000p-2f, -0x1.a49e0a0000000p-3f, -0x1.17faf80000000p-3f,
       -0x1.4eed1a0000000p-4f, -0x1.69c6120000000p-5f, -0x1.6206b00000000p-6f, -0x1.3a9c6a0000000p-7f, -0x1.fcad960000000p-9f, -0x1.7697e20000000p-10f, -0x1.f713620000000p-12f, -0x1.344a160000000p-13f},
      {-0x1.ba198c0000000p-3f, -0x1.83a82e0000000p-3f, -0x1.e7aa4a0000000p-4f, -0x1.0a867a0000000p-5f, 0x1.542dc80000000p-5f, 0x1.5d453c0000000p-4f, 0x1.8add880000000p-4f, 0x1.58e0f20000000p-4f,
       0x1.f92c240000000p-5f, 0x1.40cf320000000p-5f, 0x1.6770320000000p-6f, 0x1.66df3a0000000p-7f, 0x1.4161b60000000p-8f, 0x1.034d6a0000000p-9f, 0x1.7a32440000000p-11f, 0x1.f3c22c0000000p-13f},
  };
};

template <> struct ErfSlope<double, 1, 11, false> {  // relative error < 2^-55
  static constexpr int entries = 1;
  alignas(64) static constexpr double table[entries] = {
       0x1.20dd750429b6dp+0};
  static constexpr double polynomial[11] = {  // q of e^-r = 1 + r q(r)
       -0x1.0000000000000p+0, 0x1.0000000000011p-1, -0x1.555555555555ap-3, 0x1.555555554f0cfp-5,
       -0x1.111111110f225p-7, 0x1.6c16c187fbe02p-10, -0x1.a01a01b14378fp-13, 0x1.a01991ac8730ap-16,
       -0x1.71ddf5749d126p-19, 0x1.28b4057f44145p-22, -0x1.af631d0059becp-26};
};

template <> struct ErfSlope<float, 16, 3, false> {  // relative error < 2^-27
  static constexpr int entries = 16;
  alignas(64) static constexpr float table[entries] = {
       0x1.20dd740000000p+0f, 0x1.1da77a0000000p+0f, 0x1.1b02740000000p+0f, 0x1.18f4ce0000000p+0f,
       0x1.1785380000000p+0f, 0x1.16bab60000000p+0f, 0x1.169c940000000p+0f, 0x1.1732760000000p+0f,
       0x1.1884540000000p+0f, 0x1.1a9a7e0000000p+0f, 0x1.1d7da80000000p+0f, 0x1.2136e20000000p+0f,
       0x1.25cfaa0000000p+0f, 0x1.2b51e40000000p+0f, 0x1.28e3f40000000p+0f, 0x1.249e3e0000000p+0f};
  static constexpr float polynomial[3] = {  // q of e^-r = 1 + r q(r)
       -0x1.0000000000000p+0f, 0x1.0002900000000p-1f, -0x1.5557620000000p-3f};
};

template <> struct ErfSlope<float, 8, 3, false> {  // relative error < 2^-25
  static constexpr int entries = 8;
  alignas(64) static constexpr float table[entries] = {
       0x1.20dd740000000p+0f, 0x1.1b02740000000p+0f, 0x1.1785380000000p+0f, 0x1.169c940000000p+0f,
       0x1.1884520000000p+0f, 0x1.1d7da60000000p+0f, 0x1.25cfaa0000000p+0f, 0x1.28e3f40000000p+0f};
  static constexpr float polynomial[3] = {  // q of e^-r = 1 + r q(r)
       -0x1.0000000000000p+0f, 0x1.000a400000000p-1f, -0x1.555d880000000p-3f};
};

template <> struct ErfSlope<float, 1, 6, false> {  // relative error < 2^-27
  static constexpr int entries = 1;
  alignas(64) static constexpr float table[entries] = {
       0x1.20dd760000000p+0f};
  static constexpr float polynomial[6] = {  // q of e^-r = 1 + r q(r)
       -0x1.0000000000000p+0f, 0x1.0000000000000p-1f, -0x1.5554040000000p-3f, 0x1.5554ac0000000p-5f,
       -0x1.126fa60000000p-7f, 0x1.6d75320000000p-10f};
};

template <> struct ErfSlope<float, 16, 2, true> {  // relative error < 2^-21
  static constexpr int entries = 16;
  alignas(64) static constexpr float table[entries] = {
       0x1.20dd760000000p+0f, 0x1.1da77a0000000p+0f, 0x1.1b02740000000p+0f, 0x1.18f4ce0000000p+0f,
       0x1.1785380000000p+0f, 0x1.16bab60000000p+0f, 0x1.169c940000000p+0f, 0x1.1732760000000p+0f,
       0x1.1884540000000p+0f, 0x1.1a9a7e0000000p+0f, 0x1.1d7da80000000p+0f, 0x1.2136e20000000p+0f,
       0x1.25cfaa0000000p+0f, 0x1.2b51e40000000p+0f, 0x1.28e3f40000000p+0f, 0x1.249e3e0000000p+0f};
  static constexpr float polynomial[2] = {  // q of e^-r = 1 + r q(r)
       -0x1.62e9840000000p-1f, 0x1.ebff920000000p-3f};
};

template <> struct ErfSlope<float, 8, 2, true> {  // relative error < 2^-18
  static constexpr int entries = 8;
  alignas(64) static constexpr float table[entries] = {
       0x1.20dd760000000p+0f, 0x1.1b02740000000p+0f, 0x1.1785380000000p+0f, 0x1.169c940000000p+0f,
       0x1.1884540000000p+0f, 0x1.1d7da80000000p+0f, 0x1.25cfaa0000000p+0f, 0x1.28e3f40000000p+0f};
  static constexpr float polynomial[2] = {  // q of e^-r = 1 + r q(r)
       -0x1.62f9800000000p-1f, 0x1.ec0aa60000000p-3f};
};

template <> struct ErfSlope<float, 1, 4, true> {  // relative error < 2^-18
  static constexpr int entries = 1;
  alignas(64) static constexpr float table[entries] = {
       0x1.20dd760000000p+0f};
  static constexpr float polynomial[4] = {  // q of e^-r = 1 + r q(r)
       -0x1.62e0c20000000p-1f, 0x1.ebfa4c0000000p-3f, -0x1.ca1ce20000000p-5f, 0x1.3cbf600000000p-7f};
};

template <> struct ErfJoined<float> {  // relative error < 2^-26
  static constexpr float join = 0x1.0000000000000p+0f, centre = 2;
  static constexpr float near[] = {
       0x1.06eba80000000p-3f, -0x1.81273e0000000p-2f, 0x1.ce2cf80000000p-4f, -0x1.b7f90e0000000p-6f,
       0x1.5405b20000000p-8f, -0x1.a3f7000000000p-11f, 0x1.496a300000000p-14f};
  static constexpr float far[] = {
       0x1.cf8aca0000000p-3f, -0x1.83ae3e0000000p-4f, 0x1.2f42080000000p-5f, -0x1.c1e4020000000p-7f,
       0x1.439e1c0000000p-8f, -0x1.7462fe0000000p-10f, 0x1.048e280000000p-11f, -0x1.695f6a0000000p-12f};
};

template <> struct ErfJoined<double> {  // relative error < 2^-56
  static constexpr double join = 0x1.0000000000000p+0, centre = 2;
  static constexpr double near[] = {
       0x1.06eba8214db69p-3, -0x1.812746b0379e6p-2, 0x1.ce2f21a042b20p-4, -0x1.b82ce3128499dp-6,
       0x1.565bcd0db02f5p-8, -0x1.c02db3d8ed52fp-11, 0x1.f9a321a122eaep-14, -0x1.f4d1df39a88e3p-17,
       0x1.b9def1a25d43cp-20, -0x1.5f1d36e57e9d3p-23, 0x1.f7a41391f2137p-27, -0x1.386ac4ca4337ap-30,
       0x1.0579b4df66246p-34};
  static constexpr double far[] = {
       0x1.cf8a9295468d6p-3, -0x1.83ab6b55cba7fp-4, 0x1.2f7c9cfded509p-5, -0x1.c0f9a1d475810p-7,
       0x1.3bff304e0ea34p-8, -0x1.a987d1c3b969bp-10, 0x1.1348be8756c11p-11, -0x1.576b95960724ep-13,
       0x1.9e4bd08e1efbfp-15, -0x1.e486be26f1a7ap-17, 0x1.13405d133fdd3p-18, -0x1.305b5abb11ec4p-20,
       0x1.48391a34c17a9p-22, -0x1.59f8c8fd7c396p-24, 0x1.62cde4a4c80bbp-26, -0x1.5f8a3f7dd6260p-28,
       0x1.5f9c4eaebea3ep-30, -0x1.795c1c470553fp-32, 0x1.750721adbe10cp-34, -0x1.ed179b0579076p-37,
       0x1.2473babc80318p-40};
};

struct ErfComplement {  // error of erf < 2^-14.9
  static constexpr float polynomial[] = {
       0x1.c5bbe40000000p-1f, -0x1.a97c280000000p-1f, 0x1.337faa0000000p-1f, -0x1.5a6fea0000000p-2f,
       0x1.14c2060000000p-3f, -0x1.0836c40000000p-5f, 0x1.b3de420000000p-9f};
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
