#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <numeric>
#include <vector>

#include "kolmogorov.hpp"
#include "lamina/data/augmentation.hpp"
#include "lamina/data/loader.hpp"

using namespace lamina;

namespace {

/// Values in [0, 1] without a pattern; the expected values below are torchvision 0.14's for the same image.
Tensor<double> image(const Shape& shape) {
  Tensor<double> x(shape);
  for (Index i = 0; i < x.numel(); ++i) x.data()[i] = static_cast<double>(i * 37 % 101) / 100;
  return x;
}

void check_close(const Tensor<double>& x, const std::vector<double>& expected, double scale = 1) {
  REQUIRE(x.numel() == static_cast<Index>(expected.size()));
  for (std::size_t i = 0; i < expected.size(); ++i) {
    CAPTURE(i);
    CHECK(std::abs(x.values()[i] * scale - expected[i]) < 1e-6);
  }
}

}  // namespace

TEST_CASE("changes of colour by an amount equal torchvision's") {
  const Tensor<double> x = image({3, 4, 3}), grey = image({1, 4, 3});
  check_close(
      adjust_brightness(x, 1.4),
      {0, 0.518, 1,    0.14,  0.658, 1, 0.28,  0.798, 1, 0.42,  0.938, 0.042, 0.56,  1, 0.182, 0.7,   1, 0.322, 0.84,
       1, 0.462, 0.98, 0.084, 0.602, 1, 0.224, 0.742, 1, 0.364, 0.882, 1,     0.504, 1, 0.126, 0.644, 1});
  check_close(adjust_contrast(x, 0.3),
              {0.3411845, 0.4521845, 0.5631845, 0.3711845, 0.4821845, 0.5931845, 0.4011845, 0.5121845, 0.6231845,
               0.4311845, 0.5421845, 0.3501845, 0.4611845, 0.5721845, 0.3801845, 0.4911845, 0.6021845, 0.4101845,
               0.5211845, 0.6321845, 0.4401845, 0.5511845, 0.3591845, 0.4701845, 0.5811845, 0.3891845, 0.5001845,
               0.6111845, 0.4191845, 0.5301845, 0.6411845, 0.4491845, 0.5601845, 0.3681845, 0.4791845, 0.5901845});
  check_close(adjust_contrast(x, 1.7),
              {0,         0.2878155, 0.9168155, 0,         0.4578155, 1,         0,         0.6278155, 1,
               0.1688155, 0.7978155, 0,         0.3388155, 0.9678155, 0,         0.5088155, 1,         0.04981551,
               0.6788155, 1,         0.2198155, 0.8488155, 0,         0.3898155, 1,         0,         0.5598155,
               1,         0.1008155, 0.7298155, 1,         0.2708155, 0.8998155, 0,         0.4408155, 1});
  check_close(adjust_contrast(grey, 0.3), {0.3050833, 0.4160833, 0.5270833, 0.3350833, 0.4460833, 0.5570833, 0.3650833,
                                           0.4760833, 0.5870833, 0.3950833, 0.5060833, 0.3140833});
  check_close(adjust_saturation(x, 0.2),
              {0.2608,   0.5386584, 0.4343328, 0.360792, 0.6386504, 0.5343248, 0.460784, 0.7386424, 0.6343168,
               0.468664, 0.3643384, 0.2907976, 0.3408,   0.6186584, 0.3123328, 0.440792, 0.7186504, 0.4123248,
               0.540784, 0.8186424, 0.5123168, 0.548664, 0.2423384, 0.3707976, 0.4208,   0.4966584, 0.3923328,
               0.520792, 0.5966504, 0.4923248, 0.620784, 0.6966424, 0.5923168, 0.426664, 0.3223384, 0.4507976});
  check_close(
      adjust_saturation(x, 1.8),
      {0, 0.2013416, 1, 0,         0.3013496, 1, 0,         0.4013576, 1, 0.131336,  0.9756616, 0, 0.4592,    0.9213416,
       0, 0.559208,  1, 0.0476752, 0.659216,  1, 0.1476832, 0.851336,  0, 0.4892024, 1,         0, 0.6676672, 1,
       0, 0.7676752, 1, 0.0233576, 0.8676832, 0, 0.5976616, 1});
  check_close(adjust_hue(x, 0.2), {0.56, 0.16,  0.74,  0.66, 0.26,  0.84,  0.76, 0.36,  0.94,  0.09,  0.67,  0.59,
                                   0,    0.77,  0.462, 0.1,  0.87,  0.562, 0.2,  0.97,  0.662, 0.7,   0.392, 0.03,
                                   0.8,  0.682, 0.13,  0.9,  0.782, 0.23,  1,    0.882, 0.33,  0.612, 0.06,  0.83});
  check_close(adjust_hue(x, -0.4), {0.72, 0.77,  0.13,  0.82, 0.87,  0.23,  0.92, 0.97,  0.33,  0.7,   0.06,  0.75,
                                    0.8,  0.16,  0.74,  0.9,  0.26,  0.84,  1,    0.36,  0.94,  0.09,  0.67,  0.83,
                                    0,    0.614, 0.706, 0.1,  0.714, 0.806, 0.2,  0.814, 0.906, 0.544, 0.636, 0.03});
  check_close(adjust_sharpness(x, 0.1),
              {0,   0.37, 0.74, 0.1, 0.47,      0.84, 0.2, 0.5000769, 0.94, 0.3,  0.67, 0.03,
               0.4, 0.77, 0.13, 0.5, 0.6602308, 0.23, 0.6, 0.6903077, 0.33, 0.7,  0.06, 0.43,
               0.8, 0.16, 0.53, 0.9, 0.4697692, 0.63, 1,   0.4998462, 0.73, 0.09, 0.46, 0.83});
  check_close(adjust_sharpness(x, 1.9),
              {0,   0.37, 0.74, 0.1, 0.47,       0.84, 0.2, 0.6399231, 0.94, 0.3,  0.67, 0.03,
               0.4, 0.77, 0.13, 0.5, 1,          0.23, 0.6, 1,         0.33, 0.7,  0.06, 0.43,
               0.8, 0.16, 0.53, 0.9, 0.05023077, 0.63, 1,   0.2201538, 0.73, 0.09, 0.46, 0.83});
  check_close(solarize(x, 0.6),
              {0,   0.37, 0.26, 0.1, 0.47, 0.16, 0.2, 0.57, 0.06, 0.3, 0.33, 0.03, 0.4, 0.23, 0.13, 0.5,  0.13, 0.23,
               0.4, 0.03, 0.33, 0.3, 0.06, 0.43, 0.2, 0.16, 0.53, 0.1, 0.26, 0.37, 0,   0.36, 0.27, 0.09, 0.46, 0.17});
  check_close(autocontrast(x),
              {0,         0.393617,  0.787234,   0.106383,  0.5,       0.893617,   0.212766,  0.606383,   1,
               0.3191489, 0.712766,  0.03191489, 0.3736264, 0.7802198, 0.07692308, 0.4835165, 0.8901099,  0.1868132,
               0.5934066, 1,         0.2967033,  0.7032967, 0,         0.4065934,  0.7802198, 0.07692308, 0.4835165,
               0.8901099, 0.1868132, 0.5934066,  1,         0.2967033, 0.7032967,  0,         0.4065934,  0.8131868});
  check_close(autocontrast(adjust_contrast(grey, 0.5)),
              {0, 0.393617, 0.787234, 0.106383, 0.5, 0.893617, 0.212766, 0.606383, 1, 0.3191489, 0.712766, 0.03191489});

  CHECK(adjust_saturation(grey, 0.2) == grey);
  CHECK(adjust_hue(grey, 0.2) == grey);
  CHECK(adjust_sharpness(image({3, 2, 9}), 0.2) == image({3, 2, 9}));
  CHECK(autocontrast(Tensor<double>::full({1, 3, 3}, 0.4)) == Tensor<double>::full({1, 3, 3}, 0.4));
  check_close(adjust_hue(x, 0), std::vector<double>(x.values().begin(), x.values().end()));
  CHECK(x == image({3, 4, 3}));  // the arguments were copies
}

TEST_CASE("posterize and equalize equal torchvision's of bytes") {
  Tensor<double> x({3, 4, 3});
  const Tensor<double> whole = image({3, 16, 12});
  for (Index c = 0; c < 3; ++c)
    for (Index i = 0; i < 4; ++i)
      for (Index j = 0; j < 3; ++j) x(c, i, j) = whole(c, i, j);
  check_close(posterize(x, 3), {0,  64,  160, 96,  192, 32, 192, 32, 128, 32, 128, 224, 64, 160, 0,  160, 0,  96,
                                32, 128, 192, 128, 224, 64, 160, 0,  96,  0,  96,  192, 96, 192, 32, 192, 32, 128},
              255);
  CHECK(posterize(x, 0) == Tensor<double>::zeros({3, 4, 3}));
  for (Index i = 0; i < x.numel(); ++i) CHECK(std::abs(posterize(x, 8).data()[i] - x.data()[i]) <= 0.5 / 255 + 1e-9);
  Tensor<double> levels({1, 18, 20});
  for (Index i = 0; i < 360; ++i)
    levels.data()[i] = static_cast<double>((i * i * 7 + i * 13) % 97 + (i % 3 != 0 ? 50 : 0)) / 255;
  const Tensor<double> even = equalize(levels);
  check_close(even.reshape({9, 40})[0],
              {0,   138, 239, 9,   255, 215, 49,  215, 255, 9,   239, 138, 0,   255, 65,  35, 255, 108, 167, 250,
               234, 105, 255, 154, 159, 205, 159, 32,  184, 245, 205, 224, 123, 4,   255, 85, 46,  255, 172, 215},
              255);
  double sum = 0, weighted = 0;
  for (Index i = 0; i < 360; ++i) {
    sum += 255 * even.data()[i];
    weighted += 255 * even.data()[i] * static_cast<double>(i);
  }
  CHECK(sum == doctest::Approx(58668));
  CHECK(weighted == doctest::Approx(10644194));
  const Tensor<double> few = image({1, 4, 3});  // too few to spread
  for (Index i = 0; i < 12; ++i) CHECK(std::abs(equalize(few).data()[i] - few.data()[i]) <= 0.5 / 255 + 1e-9);
}

TEST_CASE("shears, translations and rotations equal torchvision's, to the pixel") {
  const Tensor<double> x = image({1, 5, 6});
  using enum Augmentation;
  check_close(augment(x, shear_x, 0.23),
              {0,    0.37, 0.74, 0.1,  0.47, 0.84, 0.2,  0.57, 0.94, 0.3,  0.67, 0.03, 0.77, 0.13, 0.5,
               0.87, 0.23, 0,    0.97, 0.33, 0.7,  0.06, 0.43, 0,    0.16, 0.53, 0.9,  0.26, 0.63, 0});
  check_close(augment(x, shear_x, -0.23),
              {0,    0.37, 0.74, 0.1, 0.47, 0.84, 0.2,  0.57, 0.94, 0.3, 0.67, 0.03, 0,    0.4, 0.77,
               0.13, 0.5,  0.87, 0,   0.6,  0.97, 0.33, 0.7,  0.06, 0,   0.8,  0.16, 0.53, 0.9, 0.26});
  check_close(augment(x, shear_y, 0.3),
              {0,   0.37, 0.94, 0.3, 0.67, 0.23, 0.2, 0.57, 0.13, 0.5, 0.87, 0.43, 0.4, 0.77, 0.33,
               0.7, 0.06, 0.63, 0.6, 0.97, 0.53, 0.9, 0.26, 0,    0.8, 0.16, 0,    0,   0,    0});
  check_close(augment(x, shear_y, -0.17),
              {0,   0.37, 0.74, 0,   0,    0,    0.2, 0.57, 0.94, 0.1, 0.47, 0.84, 0.4, 0.77, 0.13,
               0.3, 0.67, 0.03, 0.6, 0.97, 0.33, 0.5, 0.87, 0.23, 0.8, 0.16, 0.53, 0.7, 0.06, 0.43});
  check_close(augment(x, translate_x, 2.7),
              {0,    0,    0,   0.37, 0.74, 0.1, 0,    0,    0.2, 0.57, 0.94, 0.3, 0,    0,    0.4,
               0.77, 0.13, 0.5, 0,    0,    0.6, 0.97, 0.33, 0.7, 0,    0,    0.8, 0.16, 0.53, 0.9});
  check_close(augment(x, translate_x, -1.2),
              {0.37, 0.74, 0.1, 0.47, 0.84, 0,   0.57, 0.94, 0.3, 0.67, 0.03, 0,   0.77, 0.13, 0.5,
               0.87, 0.23, 0,   0.97, 0.33, 0.7, 0.06, 0.43, 0,   0.16, 0.53, 0.9, 0.26, 0.63, 0});
  check_close(augment(x, translate_y, 1.9),
              {0,   0,    0,    0,   0,    0,    0,   0.37, 0.74, 0.1, 0.47, 0.84, 0.2, 0.57, 0.94,
               0.3, 0.67, 0.03, 0.4, 0.77, 0.13, 0.5, 0.87, 0.23, 0.6, 0.97, 0.33, 0.7, 0.06, 0.43});
  check_close(augment(x, translate_y, -3.0),
              {0.6, 0.97, 0.33, 0.7, 0.06, 0.43, 0.8, 0.16, 0.53, 0.9, 0.26, 0.63, 0, 0, 0,
               0,   0,    0,    0,   0,    0,    0,   0,    0,    0,   0,    0,    0, 0, 0});
  check_close(augment(x, rotate, 17),
              {0,   0.74, 0.1,  0.47, 0.03, 0.03, 0,   0.57, 0.94, 0.3, 0.67, 0.23, 0.2,  0.77, 0.13,
               0.5, 0.87, 0.43, 0.4,  0.97, 0.33, 0.7, 0.06, 0.63, 0.6, 0.6,  0.16, 0.53, 0.9,  0});
  check_close(augment(x, rotate, -28),
              {0,   0.2,  0.37, 0.74, 0.1,  0,   0.4, 0.77, 0.94, 0.94, 0.1,  0.47, 0.6,  0.97, 0.13,
               0.5, 0.67, 0.03, 0.16, 0.53, 0.7, 0.7, 0.87, 0.23, 0,    0.53, 0.9,  0.26, 0.43, 0});
  check_close(augment(x, rotate, 20, 0.5),
              {0.5, 0.74, 0.1,  0.47, 0.03, 0.5,  0,   0.57, 0.94, 0.3, 0.87, 0.23, 0.2,  0.57, 0.13,
               0.5, 0.06, 0.43, 0.4,  0.77, 0.33, 0.7, 0.06, 0.63, 0.5, 0.6,  0.16, 0.53, 0.9,  0.5});
  check_close(augment(x, shear_x, 0.3, 0.5),
              {0,    0.37, 0.74, 0.1,  0.47, 0.84, 0.2,  0.57, 0.94, 0.3,  0.67, 0.03, 0.77, 0.13, 0.5,
               0.87, 0.23, 0.5,  0.97, 0.33, 0.7,  0.06, 0.43, 0.5,  0.16, 0.53, 0.9,  0.26, 0.63, 0.5});

  const Tensor<double> rgb = image({3, 7, 5}), turned = augment(rgb, rotate, 17.0);
  for (Index c = 0; c < 3; ++c)  // each channel as an image of its own
    CHECK(turned[c] == augment(rgb[c].reshape({1, 7, 5}), rotate, 17.0)[0]);
  CHECK(augment(rgb, identity, 0) == rgb);
  CHECK(augment(rgb, brightness, 0.4) == adjust_brightness(rgb, 1.4));
  CHECK(augment(rgb, color, -0.8) == adjust_saturation(rgb, 1 - 0.8));
  CHECK(augment(rgb, contrast, 0.7) == adjust_contrast(rgb, 1.7));
  CHECK(augment(rgb, sharpness, 0.9) == adjust_sharpness(rgb, 1.9));
  CHECK(augment(rgb, Augmentation::posterize, 6) == lamina::posterize(rgb, 6));
  CHECK(augment(rgb, Augmentation::solarize, 0.6) == lamina::solarize(rgb, 0.6));
  CHECK(augment(rgb, Augmentation::autocontrast, 0) == lamina::autocontrast(rgb));
  CHECK(augment(rgb, Augmentation::equalize, 0) == lamina::equalize(rgb));
}

TEST_CASE("RandAugment's amounts are torchvision's") {
  using enum Augmentation;
  const auto check = [](Index magnitude, Index bins, const std::vector<std::pair<Augmentation, double>>& expected) {
    const RandAugment augment({.magnitude = magnitude, .num_magnitude_bins = bins});
    for (const auto& [what, amount] : expected) {
      CAPTURE(static_cast<int>(what));
      CHECK(augment.amount(what, 40, 60) == doctest::Approx(amount).epsilon(1e-6));
    }
  };
  check(9, 31,
        {{identity, 0},
         {shear_x, 0.09},
         {shear_y, 0.09},
         {translate_x, 8.157099723815918},
         {translate_y, 5.438066482543945},
         {rotate, 9},
         {brightness, 0.27},
         {color, 0.27},
         {contrast, 0.27},
         {sharpness, 0.27},
         {Augmentation::posterize, 7},
         {Augmentation::solarize, 178.5 / 255},
         {Augmentation::autocontrast, 0},
         {Augmentation::equalize, 0}});
  check(14, 31,
        {{shear_x, 0.14},
         {translate_x, 12.688821792602539},
         {translate_y, 8.45921516418457},
         {rotate, 14},
         {contrast, 0.42},
         {Augmentation::posterize, 6},
         {Augmentation::solarize, 136.0 / 255}});
  check(3, 11, {{shear_y, 0.09}, {rotate, 9}, {Augmentation::posterize, 7}, {Augmentation::solarize, 178.5 / 255}});
  const int bits[] = {8, 8, 8, 8, 7, 7, 7, 7, 7, 7, 7, 7, 6, 6, 6, 6, 6, 6, 6, 5, 5, 5, 5, 5, 5, 5, 5, 4, 4, 4, 4};
  for (Index m = 0; m < 31; ++m) CHECK(RandAugment({.magnitude = m}).amount(Augmentation::posterize, 9, 9) == bits[m]);
}

TEST_CASE("RandAugment does each of the fourteen equally often, with either sign") {
  Random random(4);
  const Tensor<double> x = adjust_contrast(image({3, 24, 20}), 0.8);  // for which autocontrast does something
  const RandAugment one({.num_ops = 1, .magnitude = 20, .fill = 0.3});
  std::vector<Tensor<double>> possible;
  for (int what = 0; what < 14; ++what)
    for (const double sign : {1.0, -1.0}) {
      const auto augmentation = static_cast<Augmentation>(what);
      const bool two = what >= 1 && what <= 9;
      if (!two && sign < 0) continue;
      possible.push_back(augment(x, augmentation, sign * one.amount(augmentation, 24, 20), 0.3));
    }
  REQUIRE(possible.size() == 23);
  std::vector<int> count(23);
  const int draws = 5600;
  for (int i = 0; i < draws; ++i) {
    const Tensor<double> y = one(x, random);
    const auto at = std::find(possible.begin(), possible.end(), y);
    REQUIRE(at != possible.end());
    ++count[static_cast<std::size_t>(at - possible.begin())];
  }
  std::size_t k = 0;
  for (int what = 0; what < 14; ++what)
    for (int sign = 0; sign < (what >= 1 && what <= 9 ? 2 : 1); ++sign, ++k) {
      const double expected = draws / 14.0 / (what >= 1 && what <= 9 ? 2 : 1);
      CHECK(std::abs(count[k] - expected) < 4.5 * std::sqrt(expected));
    }
  CHECK(RandAugment({.num_ops = 0})(x, random) == x);
}

TEST_CASE("RandomResizedCrop's areas and ratios follow torchvision's distribution") {
  // A window's share s of the area is uniform in [0.08, 1] and the logarithm l of its ratio in [-L, L], L = log(4/3),
  // given that it fits: |l| <= -log s in a square. 10,000 draws of torchvision itself have p = 0.74 and 0.77 here.
  const double L = std::log(4.0 / 3);
  const auto integral = [](double s) { return s - s * std::log(s); };  // of -log s
  const double all = (0.75 - 0.08) + (integral(1) - integral(0.75)) / L;
  const auto share = [&](double s) {
    if (s <= 0.75) return (s - 0.08) / all;
    return (0.75 - 0.08 + (integral(std::min(s, 1.0)) - integral(0.75)) / L) / all;
  };
  const auto ratio = [&](double l) {
    const auto half = [](double x) { return 1 - std::exp(-x) - 0.08 * x; };
    return 0.5 + std::copysign(half(std::abs(l)), l) / (2 * half(L));
  };
  const RandomResizedCrop crop(224);
  const Index side = 3000;
  Random random(7);
  std::vector<double> areas, ratios, places;
  for (int i = 0; i < 10'000; ++i) {
    const ImageWindow at = crop.window(side, side, random);
    const auto h = static_cast<double>(at.size.h), w = static_cast<double>(at.size.w);
    CHECK((at.top >= 0 && at.top + at.size.h <= side && at.left >= 0 && at.left + at.size.w <= side));
    areas.push_back(h * w / static_cast<double>(side * side));
    ratios.push_back(std::log(w / h));
    // A place is uniform in what is left; a fraction of a pixel makes it so between pixels, too.
    places.push_back((static_cast<double>(at.left) + random.uniform()) / static_cast<double>(side - at.size.w + 1));
    places.push_back((static_cast<double>(at.top) + random.uniform()) / static_cast<double>(side - at.size.h + 1));
  }
  CHECK(kolmogorov_smirnov(areas, share) > 0.01);
  CHECK(kolmogorov_smirnov(ratios, ratio) > 0.01);
  CHECK(kolmogorov_smirnov(places, [](double x) { return x; }) > 0.01);
  CHECK(kolmogorov_smirnov(areas, [](double s) { return (s - 0.08) / 0.92; }) < 1e-6);  // the test can fail
}

TEST_CASE("RandomResizedCrop resizes its window; where none fits it takes the middle, as torchvision") {
  const Tensor<double> x = image({3, 40, 30});
  const RandomResizedCrop crop({8, 6}, {.scale = {0.2, 0.5}, .antialias = false});
  Random random(3), same(3);
  for (int i = 0; i < 20; ++i) {
    const ImageWindow at = crop.window(40, 30, same);
    Tensor<double> part({3, at.size.h, at.size.w});
    for (Index c = 0; c < 3; ++c)
      for (Index y = 0; y < at.size.h; ++y)
        for (Index w = 0; w < at.size.w; ++w) part(c, y, w) = x(c, at.top + y, at.left + w);
    CHECK(crop(x, random) == Resize({8, 6}, {.antialias = false})(part));
    CHECK(random == same);
  }
  const RandomResizedCrop large(9, {.scale = {0.9, 1}});
  CHECK(large.window(10, 200, random) == ImageWindow{0, 93, {10, 13}});
  CHECK(large.window(200, 10, random) == ImageWindow{93, 0, {13, 10}});
  CHECK(RandomResizedCrop(4)(image({1, 1, 1}), random).shape() == Shape{1, 4, 4});
  CHECK_THROWS_WITH_AS(RandomResizedCrop(0), "RandomResizedCrop: the size must be at least 1, got 0", ValueError);
  CHECK_THROWS_WITH_AS(RandomResizedCrop(4, {.scale = {0.5, 0.1}}),
                       "RandomResizedCrop: scale must be two numbers above 0, the smaller first, got 0.5 and 0.1",
                       ValueError);
  CHECK_THROWS_WITH_AS(RandomResizedCrop(4, {.ratio = {0, 1}}),
                       "RandomResizedCrop: ratio must be two numbers above 0, the smaller first, got 0 and 1",
                       ValueError);
  CHECK_THROWS_WITH_AS(RandomResizedCrop(4)(Tensor<double>({4, 4}), random),
                       "RandomResizedCrop: expected an image [C, H, W], got shape [4, 4]", ShapeError);
}

TEST_CASE("RandomErasing's windows follow torchvision's distribution, and become the value") {
  // The logarithm of a share s has ratios from max(log 0.3, log s) to min(log 3.3, -log s) that fit: summed up.
  const auto fitting = [](double s) {
    return std::min(std::log(3.3), -std::log(s)) - std::max(std::log(0.3), std::log(s));
  };
  const int steps = 20'000;
  std::vector<double> below(steps + 1);
  for (int i = 0; i < steps; ++i)
    below[static_cast<std::size_t>(i) + 1] =
        below[static_cast<std::size_t>(i)] + fitting(0.02 + 0.31 * (i + 0.5) / steps);
  const auto share = [&](double s) {
    const auto at = static_cast<std::size_t>(std::clamp((s - 0.02) / 0.31 * steps, 0.0, 1.0 * steps));
    return below[at] / below.back();
  };
  const RandomErasing erasing;
  Random random(9);
  std::vector<double> areas;
  for (int i = 0; i < 10'000; ++i) {
    const auto at = erasing.window(3000, 3000, random);
    REQUIRE(at);
    CHECK((at->size.h < 3000 && at->size.w < 3000));
    areas.push_back(static_cast<double>(at->size.h * at->size.w) / 9e6);
  }
  CHECK(kolmogorov_smirnov(areas, share) > 0.01);

  const Tensor<double> x = Tensor<double>::full({3, 20, 30}, 5);
  int erased = 0;
  for (int i = 0; i < 1000; ++i) {
    const Tensor<double> y = RandomErasing({.p = 0.3, .value = {1, 2, 3}})(x, random);
    Index top = 20, bottom = -1, left = 30, right = -1, count = 0;
    for (Index c = 0; c < 3; ++c)
      for (Index r = 0; r < 20; ++r)
        for (Index w = 0; w < 30; ++w) {
          if (y(c, r, w) == 5) continue;
          CHECK(y(c, r, w) == static_cast<double>(c + 1));
          top = std::min(top, r), bottom = std::max(bottom, r), left = std::min(left, w), right = std::max(right, w);
          ++count;
        }
    if (count == 0) continue;
    ++erased;
    CHECK(count == 3 * (bottom - top + 1) * (right - left + 1));  // one window, the same in all channels
  }
  CHECK(std::abs(erased - 300) < 60);
  const Tensor<double> noisy = RandomErasing({.p = 1, .scale = {0.5, 0.5}, .ratio = {1, 1}, .value = {}})(
      Tensor<double>::full({1, 200, 200}, 50), random);
  std::vector<double> noise;
  for (const double value : noisy.values())
    if (value != 50) noise.push_back(value);
  CHECK(noise.size() == 141 * 141);
  CHECK(kolmogorov_smirnov(noise, [](double v) { return std::erfc(-v / std::sqrt(2.0)) / 2; }) > 0.01);
  CHECK(RandomErasing({.p = 0})(x, random) == x);
  CHECK(RandomErasing({.p = 1, .scale = {0.9, 1}, .ratio = {3, 3}})(x, random) == x);  // none fits
  CHECK_THROWS_WITH_AS(RandomErasing({.p = 2}), "RandomErasing: expected a probability in [0, 1], got 2", ValueError);
  CHECK_THROWS_WITH_AS(RandomErasing({.scale = {0.5, 2}}), "RandomErasing: scale must be at most 1, got 2", ValueError);
  CHECK_THROWS_WITH_AS(RandomErasing({.value = {1, 2}})(x, random),
                       "RandomErasing: expected 2 channels, got shape [3, 20, 30]", ShapeError);
}

TEST_CASE("ColorJitter's factors are uniform, and its changes come in any order") {
  // A pixel, brightened or darkened, tells the factor.
  Random random(6);
  const Tensor<double> grey({1, 1, 1}, {0.4});
  std::vector<double> factors;
  for (int i = 0; i < 10'000; ++i) factors.push_back(ColorJitter({.brightness = 0.5})(grey, random).item() / 0.4);
  CHECK(kolmogorov_smirnov(factors, [](double f) { return f - 0.5; }) > 0.01);
  for (double& factor : factors) factor = ColorJitter({.brightness = 1.4})(grey, random).item() / 0.4;
  CHECK(kolmogorov_smirnov(factors, [](double f) { return f / 2.4; }) > 0.01);  // never below 0
  std::vector<double> hues;
  for (int i = 0; i < 2000; ++i) {
    // Pure red turns towards yellow (green rises) or magenta (blue rises), for less than a sixth of the circle.
    const Tensor<double> turned = ColorJitter({.hue = 0.1})(Tensor<double>({3, 1, 1}, {1, 0, 0}), random);
    CHECK(turned(0, 0, 0) == 1);
    hues.push_back((turned(1, 0, 0) - turned(2, 0, 0)) / 6);
  }
  CHECK(kolmogorov_smirnov(hues, [](double h) { return (h + 0.1) / 0.2; }) > 0.01);
  // Whether contrast or brightness came first: of two pixels with the mean 0.6, contrast keeps the mean, and what it
  // makes of darkened ones is no less than what brightness makes of it. With both factors known, the order is too.
  int contrast_first = 0;
  for (int i = 0; i < 1000; ++i) {
    Random same = random;
    const Tensor<double> pair({1, 1, 2}, {0.4, 0.8});
    const Tensor<double> result = ColorJitter({.brightness = 0.9, .contrast = 0.9})(pair, random);
    const auto order = same.permutation(4);
    const double one = 0.1 + 1.8 * same.uniform(), two = 0.1 + 1.8 * same.uniform();
    const bool first = std::find(order.begin(), order.end(), 1) < std::find(order.begin(), order.end(), 0);
    const Tensor<double> expected =
        first ? adjust_brightness(adjust_contrast(pair, one), two) : adjust_contrast(adjust_brightness(pair, one), two);
    for (Index k = 0; k < 2; ++k) CHECK(std::abs(result.data()[k] - expected.data()[k]) < 1e-12);
    CHECK(random == same);
    contrast_first += first;
  }
  CHECK(std::abs(contrast_first - 500) < 80);
  CHECK(ColorJitter({})(image({3, 4, 5}), random) == image({3, 4, 5}));
  CHECK_THROWS_WITH_AS(ColorJitter({.contrast = -0.1}), "ColorJitter: amounts must not be negative, got -0.1",
                       ValueError);
  CHECK_THROWS_WITH_AS(ColorJitter({.hue = 0.6}), "ColorJitter: hue must be at most 0.5, got 0.6", ValueError);
  CHECK_THROWS_WITH_AS(ColorJitter({.hue = 0.1})(image({4, 2, 2}), random),
                       "ColorJitter: expected 1 or 3 channels, got shape [4, 2, 2]", ShapeError);
}

TEST_CASE("all of them in a loader's threads: equal seeds give equal bits, and float as double") {
  Tensor<float> images({12, 3, 20, 24});
  for (Index i = 0; i < images.numel(); ++i) images.data()[i] = static_cast<float>(i * 37 % 101) / 100;
  const auto epoch = [&](Index prefetch, Index workers) {
    DataLoader loader(
        TensorDataset(images, Labels::zeros({12})),
        {.batch_size = 5,
         .shuffle = true,
         .seed = 2,
         .prefetch = prefetch,
         .workers = workers,
         .transform =
             Compose(RandomResizedCrop(16),
                     ColorJitter({.brightness = 0.4, .contrast = 0.4, .saturation = 0.4, .hue = 0.1}), RandAugment(),
                     RandomCrop(16, {.padding = 2}), Normalize({0.5, 0.5, 0.5}, {0.2, 0.2, 0.2}), RandomErasing())});
    std::vector<Tensor<float>> result;
    for (auto& [inputs, targets] : loader) result.push_back(inputs);
    return result;
  };
  const auto one = epoch(0, 1);
  CHECK(one.size() == 3);
  CHECK(one[0].shape() == Shape{5, 3, 16, 16});
  CHECK(one == epoch(3, 3));
}

TEST_CASE("changes of colour refuse what they are not made for") {
  const Tensor<double> x = image({3, 4, 3}), four = image({4, 2, 2});
  CHECK_THROWS_WITH_AS(adjust_brightness(x, -1), "adjust_brightness: the factor must not be negative, got -1",
                       ValueError);
  CHECK_THROWS_WITH_AS(adjust_hue(x, 0.7), "adjust_hue: the share must be in [-0.5, 0.5], got 0.7", ValueError);
  CHECK_THROWS_WITH_AS(posterize(x, 9), "posterize: bits must be 0 to 8, got 9", ValueError);
  CHECK_THROWS_WITH_AS(equalize(four), "equalize: expected 1 or 3 channels, got shape [4, 2, 2]", ShapeError);
  CHECK_THROWS_WITH_AS(augment(four, Augmentation::identity, 0),
                       "augment: expected 1 or 3 channels, got shape [4, 2, 2]", ShapeError);
  CHECK_THROWS_WITH_AS(RandAugment({.magnitude = 31}), "RandAugment: magnitude must be in [0, 31), got 31", ValueError);
  CHECK_THROWS_WITH_AS(RandAugment({.num_magnitude_bins = 1}),
                       "RandAugment: num_magnitude_bins must be at least 2, got 1", ValueError);
  CHECK_THROWS_WITH_AS(RandAugment({.num_ops = -1}), "RandAugment: num_ops must not be negative, got -1", ValueError);
}
