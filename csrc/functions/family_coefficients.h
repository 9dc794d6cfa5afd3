// Made by family_coefficients.py, which says what these are; do not edit.
// clang-format off
#pragma once

namespace derf::coefficients {
template <class Scalar, int pieces, int degree> struct TanhValue;
template <int pieces, int degree> struct TanhShort;
template <class Scalar> struct TanhNear;
template <class Scalar> struct TanhNearInThread;
template <class Scalar> struct TanhNearInShortThread;
template <class Scalar, int entries, bool in_base_2> struct Power;
template <class Scalar> struct Pi;
template <int pieces> struct LogarithmOnPieces;
template <class Scalar> struct Exponential;
template <class Scalar> struct Logarithm;
template <class Scalar> struct Sine;
template <class Scalar> struct Arcsinh;
template <class Scalar> struct ArcsinhToOne;
template <class Scalar> struct InverseCubeRoot;
template <class Scalar> struct Arctangent;

template <> struct TanhValue<double, 16, 14> {  // |P - exact| < 2^-52.5
  static constexpr int pieces = 16, degree = 14;
  static constexpr double origin = 0x1.8000000000000p+0, kink = 0x1.8000000000000p+0;
  static constexpr double end = 0x1.67f62b6ae7d56p+4;
  alignas(64) static constexpr double table[degree + 1][pieces] = {
      {-0x1.36561454ba864p-4, -0x1.e84152bac31afp-3, -0x1.9615e0a180e0bp-2, -0x1.6de3f8285a590p-2,
       -0x1.5e78a77f212fep-2, -0x1.5693c4d073f61p-2, -0x1.5580767e3b351p-2, -0x1.555b2bc052c93p-2,
       -0x1.55561f956f309p-2, -0x1.55555909a5d6ap-2, -0x1.55555566b3cb3p-2, -0x1.55555555a6c5fp-2,
       -0x1.5555555556d33p-2, -0x1.5555555555557p-2, 0x1.a3ee35b272b01p-70, -0x1.4d02b2cbc6f42p-6},
      {-0x1.1a2fd9ecd1de1p-2, -0x1.5dd195a90dad3p-2, 0x1.ed7318ae5e9f2p-4, 0x1.81d9032e806cdp-5,
       0x1.227541526e844p-6, 0x1.3e2536676c844p-9, 0x1.58fe60f2f0811p-12, 0x1.7599266fbce6ep-15,
       0x1.947ff7caded43p-18, 0x1.da283f5f4f653p-24, 0x1.15e75e0209393p-29, 0x1.45c25183af50cp-35,
       0x1.7ddae2ca25a95p-41, 0x1.06584a88d7361p-52, -0x1.7106e2f387f67p-59, -0x1.44e4a16e05c42p-3},
      {-0x1.67dd9c02adcddp-3, 0x1.64ad339f86c3dp-6, -0x1.bea5214ef6af2p-4, -0x1.73f7c3a66fea0p-5,
       -0x1.1e91ee5da089bp-6, -0x1.3d90cf9dab0c7p-9, -0x1.58e8952b1e79dp-12, -0x1.7595f498c4ea6p-15,
       -0x1.947f7fed2c161p-18, -0x1.da283cc480b4ep-24, -0x1.15e75df63177ep-29, -0x1.45c2517df0691p-35,
       -0x1.7ddabd0e7f687p-41, -0x1.0658309c66028p-52, -0x1.5555555555548p-2, -0x1.25396f075db72p-2},
      {0x1.4de1bc827e432p-3, 0x1.4f31d603f43f9p-4, 0x1.df97f36c76f77p-5, 0x1.cbf15413e0d71p-6,
       0x1.73d45b5ebc9e7p-7, 0x1.a5e08d2b4b68dp-10, 0x1.cba6aa3b1298fp-13, 0x1.f214c14703266p-16,
       0x1.0da9b51c30f8bp-18, 0x1.3c1acf4917c2cp-24, 0x1.7289d1fff7dcep-30, 0x1.b2586c04d9846p-36,
       0x1.fd218938aa75fp-42, 0x1.5dc977710be2fp-53, -0x1.8ba2cb16217b2p-44, 0x1.e1b2dd1e68888p-4},
      {0x1.afe8acc7e91a1p-9, -0x1.bb5f215659443p-5, -0x1.10ae08f3ae8a8p-6, -0x1.86d678129f1fep-7,
       -0x1.5f9c7acce60bdp-8, -0x1.a2cbc777713e3p-11, -0x1.cb32792d93860p-14, -0x1.f203b7ba6f5ffp-17,
       -0x1.0da86f9c2a5f3p-19, -0x1.3c1ac160012f3p-25, -0x1.7289c99652ed2p-31, -0x1.b2586253ba96cp-37,
       -0x1.fd1197f2e1831p-43, -0x1.5dbe837eca998p-54, 0x1.1111111140a88p-3, 0x1.69a22b7e18c89p-4},
      {-0x1.f4001a5778926p-5, 0x1.00158b08d7cf2p-7, -0x1.d0d1a2f8f9fa7p-10, 0x1.a1ca3e1c43469p-9,
       0x1.f358e97403430p-10, 0x1.4a1f4711cd733p-12, 0x1.6ea1c00436870p-15, 0x1.8e4e1d85486c3p-18,
       0x1.af6f7a25f5287p-21, 0x1.f9c3d10df020dp-27, 0x1.286deea976973p-32, 0x1.5b798f339c652p-38,
       0x1.96f8c16b13e9ap-44, 0x1.1799c9c5ada95p-55, -0x1.b8cc096be3718p-33, -0x1.05777cd0a0c71p-4},
      {0x1.5ce2420104a7ap-6, 0x1.6bf60197cd4c7p-7, 0x1.35f2bf4d90405p-8, -0x1.bcc69d3ab85a4p-14,
       -0x1.f6f5704cd3a11p-12, -0x1.ab1e50af71ff1p-14, -0x1.e6e8723c88a02p-17, -0x1.09650f61759eep-19,
       -0x1.1f97c50654081p-22, -0x1.512a0ec6c538ap-28, -0x1.8b39ad650838bp-34, -0x1.cf4891a4c86d4p-40,
       -0x1.0e78d2169a358p-45, -0x1.73a4b0c8862c0p-57, -0x1.ba1b9f20e4706p-5, -0x1.6c0ae56e96b65p-6},
      {0x1.ded5a5189ba35p-7, -0x1.1c0db377aec13p-7, -0x1.5a8561dc6936bp-9, -0x1.c94d130010414p-12,
       0x1.bbfb4048d76c6p-15, 0x1.ca897c116d9c5p-16, 0x1.14065a9a5356ap-18, 0x1.2efbb89eb7370p-21,
       0x1.488c3c318bea0p-24, 0x1.813b5830b0e76p-30, 0x1.c3924699b2f74p-36, 0x1.08aa8d3404101p-41,
       0x1.31ab7a4f29379p-47, 0x1.a401d40dbeaafp-59, -0x1.57828db7ddfe3p-24, 0x1.e542175212d6fp-6},
      {-0x1.b09533a59590ap-7, 0x1.d67bcf176a870p-10, 0x1.63149679a70b3p-11, 0x1.2cc531a5633eap-12,
       0x1.ab41b30160d8cp-16, -0x1.9014ce7b32fd3p-18, -0x1.0f9e870ed08a2p-20, -0x1.2e53e6371fec0p-23,
       -0x1.47f9792c638ffp-26, -0x1.80a91c7a428b1p-32, -0x1.c2e76a3df6372p-38, -0x1.08466a7b6af9ep-43,
       -0x1.27baf38a59a70p-49, -0x1.9659825e50872p-61, 0x1.6653307858a73p-6, 0x1.7f8ce69c33bf4p-9},
      {-0x1.2c6a87f8c34a6p-11, 0x1.82beed9af32c5p-10, 0x1.13087786240dbp-13, -0x1.cca53ded33959p-14,
       -0x1.5b9aedbb4b97ap-16, 0x1.fcaf975e7b024p-21, 0x1.d35451b55d7cfp-23, 0x1.0b86a899ccc14p-25,
       0x1.215dfd7ce4e22p-28, 0x1.5389c3c4a8728p-34, 0x1.8e03a5eb57d1ep-40, 0x1.d28d8554b4a08p-46,
       0x1.e47d17369a39ep-52, 0x1.4cdb64317f1adp-63, -0x1.043488ac70f71p-17, -0x1.9279cb4c19fe5p-7},
      {0x1.55b9d4fcf7ee6p-8, -0x1.6e762b4ae36abp-10, -0x1.e102b2a7c14bbp-13, 0x1.8e2199f12aeb1p-16,
       0x1.2d55a7d3ba212p-17, -0x1.98ea5d1c81170p-25, -0x1.5d90553b6419cp-25, -0x1.a7aca3e8a98a8p-28,
       -0x1.c26f9d570e542p-31, -0x1.0875dc20599a7p-36, -0x1.3602b4f599bddp-42, -0x1.6b6516fc175c0p-48,
       -0x1.45db940e13ad0p-54, -0x1.bfbf1516995b3p-66, -0x1.20ea26487b8cfp-7, 0x1.49613cb773548p-10},
      {-0x1.0194b638848a0p-9, 0x1.ccd9d5fb7c46cp-12, 0x1.0244b130f25b6p-13, 0x1.f52fd5bcdf8c8p-20,
       -0x1.7c169203e894cp-19, -0x1.30c5caf1f865cp-25, 0x1.ba8081fd5837bp-28, 0x1.2be13a08285bdp-30,
       0x1.2d062865890eap-33, 0x1.61d3461916b70p-39, 0x1.9ec668563ff7bp-45, 0x1.e63339f367c3ep-51,
       0x1.55ed023e8667ep-57, 0x1.d5d32965e7000p-69, -0x1.9950039d9200cp-13, 0x1.31997136a4f2cp-8},
      {-0x1.eccfb13eb3addp-11, 0x1.2f272b536d11dp-14, -0x1.3991113854031p-15, -0x1.1bd0d3cee3dfbp-18,
       0x1.62c1bf5c8930ap-21, 0x1.10dcd665d18c4p-26, -0x1.baa7c811e860fp-31, -0x1.70ab70575d013p-33,
       -0x1.425829ae3f7b3p-36, -0x1.7b505c631881ep-42, -0x1.bca9da15ab233p-48, -0x1.049e284d2e6aep-53,
       -0x1.0308d0fc090b7p-60, -0x1.63ed73ab03fbdp-72, 0x1.10498128c1657p-8, -0x1.991ba0d3b7138p-10},
      {0x1.0f88ab03671c4p-10, -0x1.cca613aa7ec2cp-14, 0x1.6395ebdf0e3bap-18, 0x1.f0d808d1385bbp-20,
       -0x1.be4dd32ce6400p-24, -0x1.e181469b0ab27p-29, 0x1.2c6fd56ac46f9p-34, 0x1.6315b69fa8831p-36,
       0x1.e140c1c64defbp-40, 0x1.1b77c125ff800p-45, 0x1.4c4fb5e8bab1dp-51, 0x1.85894cf4287fdp-57,
       0x1.f21ca0e00a19ep-65, 0x1.56376cf381d2ep-76, -0x1.0ca9072944268p-10, -0x1.6069007d4b1cbp-10},
      {-0x1.25df88e6c3339p-12, 0x1.f5ae09f1eac03p-16, 0x1.246612c29b9f0p-24, -0x1.73ed4b068bb64p-22,
       0x1.1c3d3726c989cp-27, 0x1.86c6d1a5783d4p-32, -0x1.78ca45d76ef03p-39, -0x1.89d847e832264p-40,
       -0x1.6d3909e3cc0ecp-44, -0x1.aeaa82c99b24dp-50, -0x1.f8e1c5c1f9229p-56, -0x1.27e97fe9f0e85p-61,
       -0x1.c43b86b197ec4p-70, -0x1.36b237c0e301dp-81, -0x1.0a091411aa66dp-11, 0x1.cd6d488b8f355p-11},
  };
};

template <> struct TanhValue<float, 16, 5> {  // |P - exact| < 2^-24
  static constexpr int pieces = 16, degree = 5;
  static constexpr float origin = 0x1.4000000000000p-1f, kink = 0x1.c000000000000p-1f;
  static constexpr float end = 0x1.2bf7ce0000000p+3f;
  alignas(64) static constexpr float table[degree + 1][pieces] = {
      {0x1.69823a0000000p-8f, 0x1.7205ac0000000p-4f, 0x1.f8d6880000000p-4f, 0x1.15b83c0000000p-3f, 0x1.1f18ce0000000p-3f, 0x1.23d46c0000000p-3f, 0x1.2478960000000p-3f, 0x1.248ece0000000p-3f,
       0x1.2491d00000000p-3f, 0x1.aa8fb60000000p-34f, -0x1.5336a20000000p-8f, -0x1.4d02b20000000p-6f, -0x1.6b902e0000000p-5f, -0x1.cd60120000000p-4f, -0x1.90756a0000000p-3f, -0x1.338bcc0000000p-4f},
      {0x1.08613a0000000p-2f, 0x1.a45a740000000p-4f, 0x1.3e751a0000000p-5f, 0x1.d9bc620000000p-7f, 0x1.5dbbfa0000000p-8f, 0x1.7b69200000000p-11f, 0x1.9ae4860000000p-14f, 0x1.bce1ee0000000p-17f,
       0x1.dcfe7e0000000p-20f, -0x1.e002ac0000000p-25f, -0x1.511b620000000p-4f, -0x1.44e4a40000000p-3f, -0x1.caf7c00000000p-3f, -0x1.3f63b20000000p-2f, 0x1.2737000000000p-1f, 0x1.93c9520000000p-2f},
      {-0x1.d183520000000p-3f, -0x1.90fccc0000000p-4f, -0x1.38d7680000000p-5f, -0x1.d66e220000000p-7f, -0x1.5a5e6c0000000p-8f, -0x1.7871980000000p-11f, -0x1.97c7a80000000p-14f, -0x1.b986e80000000p-17f,
       -0x1.c354880000000p-20f, -0x1.5553f60000000p-2f, -0x1.48bac80000000p-2f, -0x1.2539220000000p-2f, -0x1.e1eba80000000p-3f, -0x1.d8c3160000000p-4f, -0x1.9fa3f20000000p-2f, -0x1.46d05e0000000p-2f},
      {0x1.d79de20000000p-4f, 0x1.e430c00000000p-5f, 0x1.90340a0000000p-6f, 0x1.331ec20000000p-7f, 0x1.b68dfe0000000p-9f, 0x1.ddfbac0000000p-12f, 0x1.02fc140000000p-14f, 0x1.186ea60000000p-17f,
       0x1.f20bec0000000p-21f, -0x1.76e2a60000000p-13f, 0x1.0811040000000p-4f, 0x1.e188220000000p-4f, 0x1.3693800000000p-3f, 0x1.4127620000000p-3f, 0x1.8143a00000000p-4f, 0x1.04c4240000000p-3f},
      {-0x1.ed01920000000p-6f, -0x1.81cf300000000p-6f, -0x1.6125800000000p-7f, -0x1.1830d80000000p-8f, -0x1.62fc620000000p-10f, -0x1.843af20000000p-13f, -0x1.a4e7060000000p-16f, -0x1.c7c99c0000000p-19f,
       -0x1.323f380000000p-22f, 0x1.16be0a0000000p-3f, 0x1.f7faaa0000000p-4f, 0x1.6c6fe40000000p-4f, 0x1.55c9280000000p-5f, -0x1.1d82100000000p-5f, 0x1.0b19360000000p-4f, -0x1.91f5380000000p-13f},
      {0x1.67f3000000000p-10f, 0x1.4e09400000000p-8f, 0x1.6101c20000000p-9f, 0x1.23c5d20000000p-10f, 0x1.18ef020000000p-12f, 0x1.343c960000000p-15f, 0x1.4e525c0000000p-18f, 0x1.6a0d520000000p-21f,
       0x1.40a9420000000p-25f, -0x1.45b1b00000000p-6f, -0x1.b2079e0000000p-5f, -0x1.1cded80000000p-4f, -0x1.f132220000000p-5f, -0x1.55b67a0000000p-6f, -0x1.b0fefc0000000p-5f, -0x1.6970ca0000000p-6f},
  };
};

template <> struct TanhValue<float, 8, 7> {  // |P - exact| < 2^-24.5
  static constexpr int pieces = 8, degree = 7;
  static constexpr float origin = 0x1.8000000000000p-1f, kink = 0x1.8000000000000p-1f;
  static constexpr float end = 0x1.67f62c0000000p+3f;
  alignas(64) static constexpr float table[degree + 1][pieces] = {
      {0x1.0c613a0000000p-3f, 0x1.3754e80000000p-2f, 0x1.513bf00000000p-2f, 0x1.5542160000000p-2f, 0x1.5554fc0000000p-2f, -0x1.1627ba0000000p-37f, -0x1.4d02b20000000p-6f, -0x1.399eb40000000p-3f},
      {0x1.7edd580000000p-2f, 0x1.dac0ca0000000p-5f, 0x1.05e28e0000000p-7f, 0x1.33e1820000000p-13f, 0x1.65d40c0000000p-19f, 0x1.1668ba0000000p-28f, -0x1.44e4d20000000p-3f, 0x1.9744e20000000p-1f},
      {-0x1.44e0480000000p-2f, -0x1.d053ba0000000p-5f, -0x1.04670e0000000p-7f, -0x1.32f7ec0000000p-13f, -0x1.576b680000000p-19f, -0x1.55556c0000000p-2f, -0x1.2535660000000p-2f, -0x1.02ab800000000p-1f},
      {0x1.2967e60000000p-3f, 0x1.27ed940000000p-5f, 0x1.53c60c0000000p-8f, 0x1.9256920000000p-14f, 0x1.9429280000000p-20f, 0x1.725b180000000p-17f, 0x1.e0b3720000000p-4f, 0x1.c6ecbc0000000p-5f},
      {-0x1.46db660000000p-6f, -0x1.0dce3a0000000p-6f, -0x1.3b79fa0000000p-9f, -0x1.77e8400000000p-15f, -0x1.3077a00000000p-21f, 0x1.10b4d60000000p-3f, 0x1.714e600000000p-4f, 0x1.13e4420000000p-3f},
      {-0x1.35410c0000000p-6f, 0x1.64025c0000000p-8f, 0x1.99a02c0000000p-11f, 0x1.eb8f5c0000000p-17f, 0x1.1c53340000000p-23f, 0x1.923d2a0000000p-10f, -0x1.24dbaa0000000p-4f, -0x1.7ca6700000000p-4f},
      {0x1.9f37360000000p-7f, -0x1.3aeda60000000p-10f, -0x1.4c11880000000p-13f, -0x1.912d720000000p-19f, -0x1.29ae7a0000000p-26f, -0x1.f79c3e0000000p-5f, -0x1.7824480000000p-8f, 0x1.1e402c0000000p-6f},
      {-0x1.6256dc0000000p-9f, 0x1.1bd2400000000p-13f, 0x1.f1e6d40000000p-17f, 0x1.2e76420000000p-22f, 0x1.09b2220000000p-30f, 0x1.40c8040000000p-6f, 0x1.dc40860000000p-7f, 0x1.ef76ec0000000p-9f},
  };
};

template <> struct TanhShort<16, 3> {  // relative error < 2^-14.8
  static constexpr int pieces = 16, degree = 3;
  static constexpr double unit = 0x1.31d5acb6f4651p-1;
  static constexpr float origin = 0x1.4000000000000p-1f, kink = 0x1.c000000000000p-1f;
  static constexpr float end = 0x1.2bf7ce0000000p+3f;
  alignas(64) static constexpr float table[degree + 1][pieces] = {
      {0x1.8b6f5e0000000p-1f, 0x1.d88b280000000p-1f, 0x1.0430b20000000p+0f, 0x1.124c520000000p+0f, 0x1.1a604e0000000p+0f, 0x1.2172480000000p+0f, 0x1.239f240000000p+0f, 0x1.2448940000000p+0f,
       0x1.247c0c0000000p+0f, 0x1.31d5ac0000000p-1f, 0x1.3144800000000p-1f, 0x1.2f94d20000000p-1f, 0x1.2cd1ec0000000p-1f, 0x1.24602a0000000p-1f, 0x1.18b9a60000000p-1f, 0x1.5710c20000000p-1f},
      {0x1.7bff4e0000000p-2f, 0x1.e634300000000p-3f, 0x1.241f340000000p-3f, 0x1.51fb6c0000000p-4f, 0x1.7b67ec0000000p-5f, 0x1.d661040000000p-7f, 0x1.1ee5b40000000p-8f, 0x1.5c3edc0000000p-10f,
       0x1.919a940000000p-12f, 0x1.4a3f1c0000000p-18f, -0x1.21a0c20000000p-6f, -0x1.1dd7960000000p-5f, -0x1.a34e560000000p-5f, -0x1.4659120000000p-4f, 0x1.0d1eba0000000p-1f, 0x1.cad1f80000000p-2f},
      {-0x1.36edae0000000p-3f, -0x1.d35cc20000000p-4f, -0x1.31f3fa0000000p-4f, -0x1.72d4e60000000p-5f, -0x1.938d780000000p-6f, -0x1.fcacdc0000000p-8f, -0x1.37cef40000000p-9f, -0x1.7b0e300000000p-11f,
       -0x1.739bb40000000p-13f, -0x1.23cdde0000000p-4f, -0x1.1fe2e00000000p-4f, -0x1.146f500000000p-4f, -0x1.0397980000000p-4f, -0x1.9d70620000000p-5f, -0x1.37ef080000000p-3f, -0x1.43d3ea0000000p-3f},
      {0x1.8a74f40000000p-6f, 0x1.aa85f20000000p-6f, 0x1.4304820000000p-6f, 0x1.a3da140000000p-7f, 0x1.85613e0000000p-8f, 0x1.f3b32a0000000p-10f, 0x1.33f1080000000p-11f, 0x1.76f46a0000000p-13f,
       0x1.27eeb80000000p-15f, 0x1.4b0a5c0000000p-9f, 0x1.e581e80000000p-8f, 0x1.82d90e0000000p-7f, 0x1.151b040000000p-6f, 0x1.4e4aac0000000p-6f, -0x1.0da8da0000000p-7f, 0x1.4030ac0000000p-7f},
  };
};

template <> struct TanhShort<16, 4> {  // relative error < 2^-18.2
  static constexpr int pieces = 16, degree = 4;
  static constexpr double unit = 0x1.6de8ca11bfd45p-1;
  static constexpr float origin = 0x1.4000000000000p-1f, kink = 0x1.c000000000000p-1f;
  static constexpr float end = 0x1.2bf7ce0000000p+3f;
  alignas(64) static constexpr float table[degree + 1][pieces] = {
      {0x1.b953360000000p-1f, 0x1.fe0d820000000p-1f, 0x1.1193820000000p+0f, 0x1.1b1e8e0000000p+0f, 0x1.1fe8620000000p+0f, 0x1.2372a40000000p+0f, 0x1.244d4e0000000p+0f, 0x1.2481c20000000p+0f,
       0x1.248e540000000p+0f, 0x1.6de8ca0000000p-1f, 0x1.6cf0660000000p-1f, 0x1.6a109e0000000p-1f, 0x1.6564be0000000p-1f, 0x1.575f340000000p-1f, 0x1.44a7b40000000p-1f, 0x1.85dc840000000p-1f},
      {0x1.68a5120000000p-2f, 0x1.91c70c0000000p-3f, 0x1.a448660000000p-4f, 0x1.a94c660000000p-5f, 0x1.a689260000000p-6f, 0x1.999bfc0000000p-8f, 0x1.897bf40000000p-10f, 0x1.792b100000000p-12f,
       0x1.637ebe0000000p-14f, 0x1.43f8a80000000p-25f, -0x1.ef32d60000000p-6f, -0x1.e5e1860000000p-5f, -0x1.612f6c0000000p-4f, -0x1.0b30ee0000000p-3f, 0x1.2173ec0000000p-1f, 0x1.d118de0000000p-2f},
      {-0x1.861cfa0000000p-3f, -0x1.f4e2660000000p-4f, -0x1.1880e00000000p-4f, -0x1.2570be0000000p-5f, -0x1.23e2ee0000000p-6f, -0x1.1de4a60000000p-8f, -0x1.1351160000000p-10f, -0x1.080e760000000p-12f,
       -0x1.ce0f060000000p-15f, -0x1.f260600000000p-4f, -0x1.e8ee140000000p-4f, -0x1.cd70440000000p-4f, -0x1.a2d90e0000000p-4f, -0x1.2de01c0000000p-4f, -0x1.cb6b740000000p-3f, -0x1.bb3a740000000p-3f},
      {0x1.7b3dbc0000000p-5f, 0x1.6245520000000p-5f, 0x1.c868400000000p-6f, 0x1.fbcd0e0000000p-7f, 0x1.e15e360000000p-8f, 0x1.de56c80000000p-10f, 0x1.ce37b20000000p-12f, 0x1.bbaca80000000p-14f,
       0x1.3d91ec0000000p-16f, 0x1.8836660000000p-15f, 0x1.9646420000000p-7f, 0x1.822bda0000000p-6f, 0x1.12e8aa0000000p-5f, 0x1.5feb5e0000000p-5f, -0x1.6d3a260000000p-8f, 0x1.c089e60000000p-6f},
      {-0x1.cbe9ec0000000p-12f, -0x1.e6bf5c0000000p-8f, -0x1.96b1160000000p-8f, -0x1.efbd680000000p-9f, -0x1.8710f80000000p-10f, -0x1.8a79960000000p-12f, -0x1.7e838c0000000p-14f, -0x1.6f793c0000000p-16f,
       -0x1.515c560000000p-19f, 0x1.91f2b20000000p-6f, 0x1.6c02360000000p-6f, 0x1.26ae860000000p-6f, 0x1.3a77d00000000p-7f, -0x1.56aa6e0000000p-10f, 0x1.0ef4ea0000000p-5f, 0x1.0fa4340000000p-6f},
  };
};

template <> struct TanhShort<8, 4> {  // relative error < 2^-14.8
  static constexpr int pieces = 8, degree = 4;
  static constexpr double unit = 0x1.fdb97530eca86p-2;
  static constexpr float origin = 0x1.8000000000000p-1f, kink = 0x1.8000000000000p-1f;
  static constexpr float end = 0x1.67f62c0000000p+3f;
  alignas(64) static constexpr float table[degree + 1][pieces] = {
      {0x1.794a0a0000000p-1f, 0x1.13a6620000000p+0f, 0x1.3b7f6c0000000p+0f, 0x1.51afd40000000p+0f, 0x1.54d5b60000000p+0f, 0x1.fdb9760000000p-2f, 0x1.fb1bfc0000000p-2f, 0x1.e74af20000000p-2f},
      {0x1.d849660000000p-2f, 0x1.d8e7d00000000p-3f, 0x1.8ad3f60000000p-4f, 0x1.cbca680000000p-7f, 0x1.e65a860000000p-10f, 0x1.99886a0000000p-24f, -0x1.4c93e80000000p-6f, 0x1.2888640000000p-1f},
      {-0x1.07aeb00000000p-3f, -0x1.7df49e0000000p-4f, -0x1.630f8c0000000p-5f, -0x1.b2980a0000000p-8f, -0x1.955ff20000000p-11f, -0x1.50d38c0000000p-5f, -0x1.4532240000000p-5f, -0x1.a5bc2c0000000p-4f},
      {0x1.278a460000000p-9f, 0x1.41be5c0000000p-6f, 0x1.65b9420000000p-7f, 0x1.d2683a0000000p-10f, 0x1.4c60860000000p-13f, 0x1.f02b000000000p-16f, 0x1.22028e0000000p-8f, -0x1.df143c0000000p-6f},
      {0x1.516dde0000000p-8f, -0x1.b1552e0000000p-10f, -0x1.4927080000000p-10f, -0x1.c8a5fa0000000p-13f, -0x1.a9776e0000000p-17f, 0x1.04522a0000000p-8f, 0x1.6159a00000000p-9f, 0x1.b7e6f20000000p-7f},
  };
};

template <> struct TanhShort<8, 5> {  // relative error < 2^-18.2
  static constexpr int pieces = 8, degree = 5;
  static constexpr double unit = 0x1.30eca8641fdb9p-1;
  static constexpr float origin = 0x1.8000000000000p-1f, kink = 0x1.8000000000000p-1f;
  static constexpr float end = 0x1.67f62c0000000p+3f;
  alignas(64) static constexpr float table[degree + 1][pieces] = {
      {0x1.af52fc0000000p-1f, 0x1.2987e00000000p+0f, 0x1.4766860000000p+0f, 0x1.5405be0000000p+0f, 0x1.5536540000000p+0f, 0x1.30eca80000000p-1f, 0x1.2eb0ea0000000p-1f, 0x1.1e24ac0000000p-1f},
      {0x1.e891440000000p-2f, 0x1.86a11a0000000p-3f, 0x1.03ec4e0000000p-4f, 0x1.8e6e7c0000000p-8f, 0x1.222bbc0000000p-11f, -0x1.921d020000000p-25f, -0x1.1b5d3a0000000p-5f, 0x1.4f22800000000p-1f},
      {-0x1.7087320000000p-3f, -0x1.960f260000000p-4f, -0x1.26ee720000000p-5f, -0x1.d2eb640000000p-9f, -0x1.3d77d00000000p-12f, -0x1.2065da0000000p-4f, -0x1.115a440000000p-4f, -0x1.4e877e0000000p-3f},
      {0x1.a742320000000p-7f, 0x1.e1de040000000p-6f, 0x1.9e00340000000p-7f, 0x1.57e7a80000000p-10f, 0x1.87a77c0000000p-14f, -0x1.3a9a9e0000000p-15f, 0x1.3573860000000p-7f, -0x1.2fbef60000000p-5f},
      {0x1.c59d860000000p-7f, -0x1.254c4e0000000p-8f, -0x1.64797c0000000p-9f, -0x1.3982140000000p-12f, -0x1.041bac0000000p-16f, 0x1.50e2ec0000000p-7f, 0x1.2ca1520000000p-7f, 0x1.f2931e0000000p-6f},
      {-0x1.0ecf180000000p-8f, 0x1.262a4e0000000p-13f, 0x1.21ab3e0000000p-12f, 0x1.0ce8f20000000p-15f, 0x1.1f5f100000000p-20f, -0x1.12e4ce0000000p-10f, -0x1.8c7eaa0000000p-9f, -0x1.432b340000000p-8f},
  };
};

template <> struct TanhNear<float> {  // relative error < 2^-27
  static constexpr int degree = 5;
  static constexpr float join = 0x1.4000000000000p-1f;
  static constexpr float polynomial[] = {
       -0x1.0db0f60000000p-28f, -0x1.5555240000000p-2f, 0x1.1105800000000p-3f, -0x1.b815400000000p-5f,
       0x1.515cde0000000p-6f, -0x1.72eedc0000000p-8f};
};

template <> struct TanhNear<double> {  // relative error < 2^-55
  static constexpr int degree = 11;
  static constexpr double join = 0x1.4000000000000p-1;
  static constexpr double polynomial[] = {
       -0x1.6339512f15431p-57, -0x1.55555555554d5p-2, 0x1.111111110963fp-3, -0x1.ba1ba1b456604p-5,
       0x1.664f47632f106p-6, -0x1.226e143b72e09p-7, 0x1.d6cef3e741988p-9, -0x1.7d66d817a27e7p-10,
       0x1.335bca2d2c9c9p-11, -0x1.df0b748a4c6c4p-13, 0x1.42f95938cc1d5p-14, -0x1.0c9896bed2287p-16};
};

template <> struct TanhNearInThread<float> {  // relative error < 2^-26.5
  static constexpr int degree = 8;
  static constexpr float join = 0x1.4000000000000p+0f;
  static constexpr float polynomial[] = {
       -0x1.3f2d7c0000000p-27f, -0x1.5555140000000p-2f, 0x1.1108100000000p-3f, -0x1.b9243c0000000p-5f,
       0x1.5f81080000000p-6f, -0x1.0688340000000p-7f, 0x1.47f2780000000p-9f, -0x1.1b7b2e0000000p-11f,
       0x1.de85460000000p-15f};
};

template <> struct TanhNearInShortThread<float> {  // relative error < 2^-19
  static constexpr int degree = 3;
  static constexpr float join = 0x1.0000000000000p-1f;
  static constexpr float polynomial[] = {
       -0x1.242cce0000000p-21f, -0x1.5542f20000000p-2f, 0x1.0e23240000000p-3f, -0x1.6bbe380000000p-5f};
};

template <> struct Power<double, 1, false> {  // relative error < 2^-55
  static constexpr int entries = 1;
  alignas(64) static constexpr double table[entries] = {
       0x1.0000000000000p+0};
  static constexpr double polynomial[11] = {  // q of e^-r = 1 + r q(r)
       -0x1.0000000000000p+0, 0x1.0000000000011p-1, -0x1.555555555555ap-3, 0x1.555555554f0cfp-5,
       -0x1.111111110f225p-7, 0x1.6c16c187fbe02p-10, -0x1.a01a01b14378fp-13, 0x1.a01991ac8730ap-16,
       -0x1.71ddf5749d126p-19, 0x1.28b4057f44145p-22, -0x1.af631d0059becp-26};
};

template <> struct Power<float, 16, false> {  // relative error < 2^-21
  static constexpr int entries = 16;
  alignas(64) static constexpr float table[entries] = {
       0x1.0000000000000p+0f, 0x1.fb55860000000p-1f, 0x1.f72b840000000p-1f, 0x1.f387a60000000p-1f,
       0x1.f06fe00000000p-1f, 0x1.edea640000000p-1f, 0x1.ebfdae0000000p-1f, 0x1.eab07e0000000p-1f,
       0x1.ea09e60000000p-1f, 0x1.ea11480000000p-1f, 0x1.eace540000000p-1f, 0x1.ec49180000000p-1f,
       0x1.ee89fa0000000p-1f, 0x1.f199be0000000p-1f, 0x1.f5818e0000000p-1f, 0x1.fa4afa0000000p-1f};
  static constexpr float polynomial[2] = {  // q of e^-r = 1 + r q(r)
       -0x1.0003d80000000p+0f, 0x1.0001ec0000000p-1f};
};

template <> struct Power<float, 8, false> {  // relative error < 2^-25
  static constexpr int entries = 8;
  alignas(64) static constexpr float table[entries] = {
       0x1.0000000000000p+0f, 0x1.f72b840000000p-1f, 0x1.f06fe00000000p-1f, 0x1.ebfdac0000000p-1f,
       0x1.ea09e60000000p-1f, 0x1.eace540000000p-1f, 0x1.ee89fa0000000p-1f, 0x1.f5818e0000000p-1f};
  static constexpr float polynomial[3] = {  // q of e^-r = 1 + r q(r)
       -0x1.0000000000000p+0f, 0x1.000a400000000p-1f, -0x1.555d880000000p-3f};
};

template <> struct Power<float, 1, false> {  // relative error < 2^-27
  static constexpr int entries = 1;
  alignas(64) static constexpr float table[entries] = {
       0x1.0000000000000p+0f};
  static constexpr float polynomial[6] = {  // q of e^-r = 1 + r q(r)
       -0x1.0000000000000p+0f, 0x1.0000000000000p-1f, -0x1.5554040000000p-3f, 0x1.5554ac0000000p-5f,
       -0x1.126fa60000000p-7f, 0x1.6d75320000000p-10f};
};

template <> struct Power<float, 16, true> {  // relative error < 2^-21
  static constexpr int entries = 16;
  alignas(64) static constexpr float table[entries] = {
       0x1.0000000000000p+0f, 0x1.fb55860000000p-1f, 0x1.f72b840000000p-1f, 0x1.f387a60000000p-1f,
       0x1.f06fe00000000p-1f, 0x1.edea640000000p-1f, 0x1.ebfdae0000000p-1f, 0x1.eab07e0000000p-1f,
       0x1.ea09e60000000p-1f, 0x1.ea11480000000p-1f, 0x1.eace540000000p-1f, 0x1.ec49180000000p-1f,
       0x1.ee89fa0000000p-1f, 0x1.f199be0000000p-1f, 0x1.f5818e0000000p-1f, 0x1.fa4afa0000000p-1f};
  static constexpr float polynomial[2] = {  // q of e^-r = 1 + r q(r)
       -0x1.62e9840000000p-1f, 0x1.ebff920000000p-3f};
};

template <> struct Power<float, 8, true> {  // relative error < 2^-18
  static constexpr int entries = 8;
  alignas(64) static constexpr float table[entries] = {
       0x1.0000000000000p+0f, 0x1.f72b840000000p-1f, 0x1.f06fe00000000p-1f, 0x1.ebfdae0000000p-1f,
       0x1.ea09e60000000p-1f, 0x1.eace540000000p-1f, 0x1.ee89fa0000000p-1f, 0x1.f5818e0000000p-1f};
  static constexpr float polynomial[2] = {  // q of e^-r = 1 + r q(r)
       -0x1.62f9800000000p-1f, 0x1.ec0aa60000000p-3f};
};

template <> struct Exponential<float> {  // relative error < 2^-26
  static constexpr int degree = 4;
  static constexpr float polynomial[] = {
       0x1.fffffe0000000p-2f, -0x1.5554b00000000p-3f, 0x1.5556740000000p-5f, -0x1.1227f60000000p-7f,
       0x1.6bebf80000000p-10f};
};

template <> struct Exponential<double> {  // relative error < 2^-55.5
  static constexpr int degree = 9;
  static constexpr double polynomial[] = {
       0x1.0000000000005p-1, -0x1.5555555555539p-3, 0x1.5555555552259p-5, -0x1.1111111119096p-7,
       0x1.6c16c17ef5c9dp-10, -0x1.a01a0174d7729p-13, 0x1.a019a71bbc9b9p-16, -0x1.71de8854e8ee6p-19,
       0x1.28a2375a2c7abp-22, -0x1.ae6b9e0c3ec24p-26};
};

template <> struct Logarithm<float> {  // relative error < 2^-27.5
  static constexpr int degree = 8;
  static constexpr float polynomial[] = {
       -0x1.fffff80000000p-2f, 0x1.5555500000000p-2f, -0x1.0004260000000p-2f, 0x1.99a3f40000000p-3f,
       -0x1.54276c0000000p-3f, 0x1.2271920000000p-3f, -0x1.0f37620000000p-3f, 0x1.0848a40000000p-3f,
       -0x1.3830c20000000p-4f};
};

template <> struct Logarithm<double> {  // relative error < 2^-56.5
  static constexpr int degree = 19;
  static constexpr double polynomial[] = {
       -0x1.0000000000003p-1, 0x1.555555555551ep-2, -0x1.fffffffffdcb8p-3, 0x1.99999999a119bp-3,
       -0x1.55555556f1aa3p-3, 0x1.2492492279bf9p-3, -0x1.fffffef04345fp-4, 0x1.c71c71bef8449p-4,
       -0x1.9999c9bfb628ep-4, 0x1.745d488401e32p-4, -0x1.555069c66e215p-4, 0x1.3b0a8614496d1p-4,
       -0x1.24dc8745887c6p-4, 0x1.11db1536e38b4p-4, -0x1.fb7132661f4fcp-5, 0x1.cf9581b2d46e3p-5,
       -0x1.d1272f37bb3f8p-5, 0x1.0b72d9ab55d41p-4, -0x1.ec035d624b9ddp-5, 0x1.acd38ab03f620p-6};
};

template <> struct Sine<float> {  // relative error < 2^-27
  static constexpr int degree = 3;
  static constexpr float polynomial[] = {
       -0x1.55554c0000000p-3f, 0x1.110ed40000000p-7f, -0x1.9f70000000000p-13f, 0x1.5dbdf20000000p-19f};
};

template <> struct Sine<double> {  // relative error < 2^-60
  static constexpr int degree = 7;
  static constexpr double polynomial[] = {
       -0x1.5555555555555p-3, 0x1.11111111110c1p-7, -0x1.a01a01a0148bdp-13, 0x1.71de3a5287c8bp-19,
       -0x1.ae6454cb579efp-26, 0x1.6123cb290ad83p-33, -0x1.ae431d97fbc86p-41, 0x1.8829a2b58361cp-49};
};

template <> struct Arcsinh<float> {  // relative error < 2^-26
  static constexpr int degree = 5;
  static constexpr float polynomial[] = {
       -0x1.5555540000000p-3f, 0x1.33320a0000000p-4f, -0x1.6d78c40000000p-5f, 0x1.ebbb6e0000000p-6f,
       -0x1.475a140000000p-6f, 0x1.2c683a0000000p-7f};
};

template <> struct Arcsinh<double> {  // relative error < 2^-54
  static constexpr int degree = 12;
  static constexpr double polynomial[] = {
       -0x1.5555555555554p-3, 0x1.3333333333043p-4, -0x1.6db6db6d8dabap-5, 0x1.f1c71c5f955e7p-6,
       -0x1.6e8ba0887d1d6p-6, 0x1.1c4e91b77e175p-6, -0x1.c993bfa67a6aep-7, 0x1.7a4ba7f442f96p-7,
       -0x1.3e2af88dd96dep-7, 0x1.0a1d9b172a542p-7, -0x1.9e7a6144a52e9p-8, 0x1.012ffcedc3949p-8,
       -0x1.65a58644ee8adp-10};
};

template <> struct ArcsinhToOne<float> {  // relative error < 2^-25
  static constexpr int degree = 10;
  static constexpr float polynomial[] = {
       -0x1.5555520000000p-3f, 0x1.3332160000000p-4f, -0x1.6d93d80000000p-5f, 0x1.ef998a0000000p-6f,
       -0x1.643c3c0000000p-6f, 0x1.f8fcd20000000p-7f, -0x1.415ae20000000p-7f, 0x1.4a5bd40000000p-8f,
       -0x1.ea2f400000000p-10f, 0x1.c571320000000p-12f, -0x1.82c1920000000p-15f};
};

template <> struct ArcsinhToOne<double> {  // relative error < 2^-54
  static constexpr int degree = 23;
  static constexpr double polynomial[] = {
       -0x1.5555555555553p-3, 0x1.3333333332fbcp-4, -0x1.6db6db6d99dc6p-5, 0x1.f1c71c69fb68ap-6,
       -0x1.6e8ba245c4648p-6, 0x1.1c4ebc0693378p-6, -0x1.c998e897059d1p-7, 0x1.7a826a9233778p-7,
       -0x1.3fc14ab24b0aep-7, 0x1.126da37b9458bp-7, -0x1.db9b9b451fa51p-8, 0x1.9bf1cd1711e76p-8,
       -0x1.5eae52c84fc68p-8, 0x1.1e54c521f6376p-8, -0x1.b354fd58bb9ccp-9, 0x1.2a92fe871354ap-9,
       -0x1.665ea765304d5p-10, 0x1.6d7330fe11376p-11, -0x1.333cbdf14a07dp-12, 0x1.9b8fa322f0aa2p-14,
       -0x1.a42670fe79ac6p-16, 0x1.31e36293fb096p-18, -0x1.1a29a263fcdc4p-21, 0x1.eeb63a68361b6p-26};
};

template <> struct InverseCubeRoot<float> {  // relative error < 2^-25
  static constexpr int degree = 4;
  static constexpr float polynomial[] = {
       0x1.5555560000000p-2f, 0x1.c7191c0000000p-3f, 0x1.61f3d00000000p-3f, 0x1.2aa41a0000000p-3f,
       0x1.03c6480000000p-3f};
};

template <> struct Arctangent<float> {  // relative error < 2^-25.9
  static constexpr int degree = 8;
  static constexpr float polynomial[] = {
       0x1.45f3060000000p-1f, -0x1.b298800000000p-3f, 0x1.04a9ca0000000p-3f, -0x1.725f9e0000000p-4f,
       0x1.1578f80000000p-4f, -0x1.875d120000000p-5f, 0x1.bd4a140000000p-6f, -0x1.4f344e0000000p-7f,
       0x1.db9b820000000p-10f};
};

template <> struct Arctangent<double> {  // relative error < 2^-55
  static constexpr int degree = 19;
  static constexpr double polynomial[] = {
       0x1.45f306dc9c882p-1, -0x1.b2995e7b7b406p-3, 0x1.04c26be39f6b5p-3, -0x1.748375872fc3dp-4,
       0x1.21bb9381beac0p-4, -0x1.da1b9008199d2p-5, 0x1.9129c61078766p-5, -0x1.5ba2ab6621162p-5,
       0x1.32810bff49b7bp-5, -0x1.11346510b17d8p-5, 0x1.e756575bd0452p-6, -0x1.aa819670b63bap-6,
       0x1.62b9527c9ec8ep-6, -0x1.0c982418426e5p-6, 0x1.60a1a0c37ac55p-7, -0x1.7cee6075dc338p-8,
       0x1.3f595bd0a22cap-9, -0x1.8108eaac4dd84p-11, 0x1.26a33c5c049e3p-13, -0x1.aba08e04925f1p-17};
};

template <> struct LogarithmOnPieces<16> {  // relative error < 2^-27
  static constexpr int degree = 3;
  alignas(64) static constexpr float c[16] = {
       0x1.0000000000000p+0f, 0x1.d41d420000000p-1f, 0x1.bacf920000000p-1f, 0x1.a41a420000000p-1f,
       0x1.8f9c180000000p-1f, 0x1.7d05f40000000p-1f, 0x1.6c16c20000000p-1f, 0x1.5c98820000000p-1f,
       0x1.4e5e0a0000000p-1f, 0x1.4141420000000p-1f, 0x1.3521d00000000p-1f, 0x1.29e4120000000p-1f,
       0x1.1f70480000000p-1f, 0x1.15b1e60000000p-1f, 0x1.0c97140000000p-1f, 0x1.0410420000000p-1f};
  alignas(64) static constexpr float log[16] = {
       0x0.0p+0f, 0x1.6f0d280000000p-4f, 0x1.29552c0000000p-3f, 0x1.9525a80000000p-3f,
       0x1.fb918c0000000p-3f, 0x1.2e8e2c0000000p-2f, 0x1.5d1bda0000000p-2f, 0x1.89a33a0000000p-2f,
       0x1.b44f7a0000000p-2f, 0x1.dd469e0000000p-2f, 0x1.02552a0000000p-1f, 0x1.154c3e0000000p-1f,
       0x1.2795e00000000p-1f, 0x1.393e0e0000000p-1f, 0x1.4a4f880000000p-1f, 0x1.5ad4020000000p-1f};
  static constexpr float polynomial[] = {
       -0x1.0000020000000p-1f, 0x1.55580c0000000p-2f, -0x1.fff1500000000p-3f, 0x1.7fbc5a0000000p-3f};
};

template <> struct LogarithmOnPieces<8> {  // relative error < 2^-26.5
  static constexpr int degree = 4;
  alignas(64) static constexpr float c[8] = {
       0x1.0000000000000p+0f, 0x1.af286c0000000p-1f, 0x1.8618620000000p-1f, 0x1.642c860000000p-1f,
       0x1.47ae140000000p-1f, 0x1.2f684c0000000p-1f, 0x1.1a7b960000000p-1f, 0x1.0842100000000p-1f};
  alignas(64) static constexpr float log[8] = {
       0x0.0p+0f, 0x1.5ff3060000000p-3f, 0x1.1675ca0000000p-2f, 0x1.739d7e0000000p-2f,
       0x1.c8ff7e0000000p-2f, 0x1.0be72e0000000p-1f, 0x1.307d740000000p-1f, 0x1.52a2d40000000p-1f};
  static constexpr float polynomial[] = {
       -0x1.fffffc0000000p-2f, 0x1.55560e0000000p-2f, -0x1.00172a0000000p-2f, 0x1.9825900000000p-3f,
       -0x1.20bf820000000p-3f};
};

template <> struct Pi<float> {
  static constexpr float part[] = {
       0x1.9200000000000p+1f, 0x1.fb40000000000p-11f, 0x1.4440000000000p-23f, 0x1.68c2340000000p-38f};
};

template <> struct Pi<double> {
  static constexpr double part[] = {
       0x1.921fb54400000p+1, 0x1.0b4611a600000p-33, 0x1.3198a2e000000p-68, 0x1.b839a252049c1p-103};
};

#define DERF_INVERSE_OF_PI \
    0x0000000000000000, 0x517cc1b727220a94, 0xfe13abe8fa9a6ee0, 0x6db14acc9e21c820, 0xff28b1d5ef5de2b0, \
    0xdb92371d2126e970, 0x0324977504e8c90e, 0x7f0ef58e5894d39f, 0x74411afa975da242, 0x74ce38135a2fbf20, \
    0x9cc8eb1cc1a99cfa, 0x4e422fc5defc941d, 0x8ffc4bffef02cc07, 0xf79788c5ad05368f, 0xb69b3f6793e584db, \
    0xa7a31fb34f2ff516, 0xba93dd63f5f2f8bd, 0x9e839cfbc5294975, 0x35fdafd88fc6ae84, 0x2b0198237e3db5d5
}  // namespace derf::coefficients
