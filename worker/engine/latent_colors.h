// Linear maps of latents in model space to RGB of -1..1, for previews: least-squares fits to what the autoencoders
// make. Rows are latent channels. A format without one has no previews. Source: spec engine.md 6.4; the figures of
// SD 1.5 are those of the Hugging Face forum ("Decoding latents to RGB without upscaling", 2022), the others InvokeAI's
// fits (Apache-2.0).
#pragma once

#include <array>
#include <span>

namespace atelier::engine {

using LatentColors = std::span<const std::array<float, 3>>;

inline constexpr std::array<std::array<float, 3>, 4> kSd15Colors{
    {{0.298f, 0.207f, 0.208f}, {0.187f, 0.286f, 0.173f}, {-0.158f, 0.189f, 0.264f}, {-0.184f, -0.271f, -0.473f}}};

inline constexpr std::array<std::array<float, 3>, 4> kSdxlColors{{{0.3816f, 0.4930f, 0.5320f},
                                                                  {-0.3753f, 0.1631f, 0.1739f},
                                                                  {0.1770f, 0.3588f, -0.2048f},
                                                                  {-0.4350f, -0.2644f, -0.4289f}}};

inline constexpr std::array<std::array<float, 3>, 16> kSd3Colors{{{-0.05240681f, 0.03251581f, 0.0749016f},
                                                                  {-0.0580572f, 0.00759826f, 0.05729818f},
                                                                  {0.16144888f, 0.01270368f, -0.03768577f},
                                                                  {0.14418615f, 0.08460266f, 0.15941818f},
                                                                  {0.04894035f, 0.0056485f, -0.06686988f},
                                                                  {0.05187166f, 0.19222395f, 0.06261094f},
                                                                  {0.1539433f, 0.04818359f, 0.07103094f},
                                                                  {-0.08601796f, 0.09013458f, 0.10893912f},
                                                                  {-0.12398469f, -0.06766567f, 0.0033688f},
                                                                  {-0.0439737f, 0.07825329f, 0.02258823f},
                                                                  {0.03101129f, 0.06382551f, 0.07753657f},
                                                                  {-0.01315361f, 0.08554491f, -0.08772475f},
                                                                  {0.06464487f, 0.05914605f, 0.13262741f},
                                                                  {-0.07863674f, -0.02261737f, -0.12761454f},
                                                                  {-0.09923835f, -0.08010759f, -0.06264447f},
                                                                  {-0.03392309f, -0.0804029f, -0.06078822f}}};

inline constexpr std::array<std::array<float, 3>, 16> kFluxColors{{{-0.0412f, 0.0149f, 0.0521f},
                                                                   {0.0056f, 0.0291f, 0.0768f},
                                                                   {0.0342f, -0.0681f, -0.0427f},
                                                                   {-0.0258f, 0.0092f, 0.0463f},
                                                                   {0.0863f, 0.0784f, 0.0547f},
                                                                   {-0.0017f, 0.0402f, 0.0158f},
                                                                   {0.0501f, 0.1058f, 0.1152f},
                                                                   {-0.0209f, -0.0218f, -0.0329f},
                                                                   {-0.0314f, 0.0083f, 0.0896f},
                                                                   {0.0851f, 0.0665f, -0.0472f},
                                                                   {-0.0534f, 0.0238f, -0.0024f},
                                                                   {0.0452f, -0.0026f, 0.0048f},
                                                                   {0.0892f, 0.0831f, 0.0881f},
                                                                   {-0.1117f, -0.0304f, -0.0789f},
                                                                   {0.0027f, -0.0479f, -0.0043f},
                                                                   {-0.1146f, -0.0827f, -0.0598f}}};

}  // namespace atelier::engine
