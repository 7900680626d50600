// What is random in a training call of a layer, or remains of it in prediction.
#pragma once

#include "bind/groups.hpp"

namespace rnncore {

// (recurrent_mask, zoneout, seed, purpose), or None: the mask (B, H) of recurrent dropout or None;
// zoneout's rate of each state or None, its masks drawn from seed and purpose, or without a seed
// its expectation.
template <class T>
void read_noise(LayerArgs<T>& a, ArrayCheck& check, const py::object& object) {
  if (object.is_none()) return;
  if (a.fed) throw py::value_error("noise: expected None with feedback, got a tuple");
  const py::tuple noise = group("noise", object, 4);
  const py::object seed = noise[2];
  a.recurrent_mask =
      check.optional_matrix<T>("recurrent_mask", noise[0], {a.sizes.batch, a.sizes.hidden});
  a.zoneout.rates = rates_of(*a.cell, noise[1]);
  a.zoneout.drawn = !seed.is_none();
  if (!a.zoneout.drawn) return;
  a.zoneout.seed = seed_of(seed);
  a.zoneout.purpose = purpose_of(noise[3]);
}

// Backward knows the gradient of drawn masks, not that of their expectation.
template <class T>
void expect_drawn(const LayerArgs<T>& a) {
  if (a.zoneout && !a.zoneout.drawn) {
    throw py::value_error("noise: expected a seed for zoneout in backward, got None");
  }
}

}  // namespace rnncore
