// Arrays that travel together: a tuple whose entries are read by position. Each reader checks its
// length and every array of it; errors name the array.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "bind/arrays.hpp"
#include "recurrence/layer/layer.hpp"

namespace rnncore {

// The row of the cell table; ValueError lists the names.
const CellInfo& cell_named(const std::string& name);

// A tuple of `count` entries: the group `name`.
py::tuple group(const std::string& name, const py::object& object, std::size_t count);

// A list or a tuple of any length, as it is now: the list may change, and a class of its own may
// run code where an entry is asked for.
py::tuple list_of(const std::string& name, const py::object& object);

// A state's array must be there exactly where the cell carries that state.
void expect_state(const CellInfo& cell, std::size_t k, const ArrayName& name,
                  const py::object& object);

// ValueError unless both are None or neither.
void expect_both(const ArrayName& name, const py::object& first, const py::object& second,
                 const char* text);

// Zoneout's rate of each state of the cell; None: 0 everywhere.
States<double> rates_of(const CellInfo& cell, const py::object& zoneout);

// How the arrays of a group are named: prefix + name + suffix.
struct Naming {
  std::string_view prefix = {}, suffix = {};
  int layer = -1;
  ArrayName operator()(std::string_view name) const { return {name, prefix, suffix, layer}; }
};

// "h" or "c".
inline std::string_view state_name(std::size_t k) {
  static constexpr std::string_view letters = "hc";
  static_assert(letters.size() == max_states);
  return letters.substr(k, 1);
}

// (weight_ih, weight_hh, bias_ih, bias_hh, unit parameters ...) of one layer.
class WeightGroup {
 public:
  // `name`: the group's.
  WeightGroup(const std::string& name, const CellInfo& cell, const py::object& object,
              const Naming& naming = {});

  py::object weight_ih() const { return arrays_[0]; }
  py::object weight_hh() const { return arrays_[1]; }

  // Of a layer with I features and H units, to read.
  template <class T>
  LayerWeights<const T> read(ArrayCheck& check, Index input, Index hidden) const {
    const Index rows = checked_mul(cell_.gates, hidden);
    LayerWeights<const T> to;
    to.weight_ih = check.matrix<T>(naming_("weight_ih"), arrays_[0], {rows, input});
    to.weight_hh = check.optional_matrix<T>(naming_("weight_hh"), arrays_[1], {rows, hidden});
    if (cell_.wiring.has_reset() && !to.weight_hh) {
      throw py::value_error(naming_("weight_hh").text() + ": expected an array for the cell " +
                            std::string(cell_.name) + ", got None");
    }
    expect_both(naming_("bias_hh"), arrays_[2], arrays_[3], "expected both biases or neither");
    to.bias_ih = check.optional_contiguous<T>(naming_("bias_ih"), arrays_[2], {rows});
    to.bias_hh = check.optional_contiguous<T>(naming_("bias_hh"), arrays_[3], {rows});
    for (std::size_t p = 0; p < cell_.unit_parameters.size(); ++p) {
      to.unit[p] = check.matrix<T>(naming_(cell_.unit_parameters[p].name), arrays_[4 + p],
                                   {unit_rows(p), hidden});
    }
    return to;
  }

  // The same to write; the gradient of R is there exactly where R is.
  template <class T>
  LayerWeights<T> write(ArrayCheck& check, Index input, Index hidden,
                        const py::object& weight_hh) const {
    const Index rows = checked_mul(cell_.gates, hidden);
    LayerWeights<T> to;
    to.weight_ih = check.out_matrix<T>(naming_("weight_ih"), arrays_[0], {rows, input});
    expect_both(naming_("weight_hh"), weight_hh, arrays_[1],
                "expected both weight_hh and dweight_hh or neither");
    to.weight_hh = check.optional_out_matrix<T>(naming_("weight_hh"), arrays_[1], {rows, hidden});
    expect_both(naming_("bias_hh"), arrays_[2], arrays_[3], "expected both biases or neither");
    to.bias_ih = check.optional_out_contiguous<T>(naming_("bias_ih"), arrays_[2], {rows});
    to.bias_hh = check.optional_out_contiguous<T>(naming_("bias_hh"), arrays_[3], {rows});
    for (std::size_t p = 0; p < cell_.unit_parameters.size(); ++p) {
      to.unit[p] = check.out_matrix<T>(naming_(cell_.unit_parameters[p].name), arrays_[4 + p],
                                       {unit_rows(p), hidden});
    }
    return to;
  }

 private:
  Index unit_rows(std::size_t p) const {
    return static_cast<Index>(cell_.unit_parameters[p].rows.size());
  }

  const CellInfo& cell_;
  const Naming naming_;
  const py::tuple arrays_;
};

// Some entries of `group` from `first` on are (h, c): calls f(k, name, array) for each state of the
// cell. Of an `optional` group f may get None.
template <class F>
void for_states(const CellInfo& cell, const py::tuple& group, std::size_t first,
                const Naming& naming, bool optional, F&& f) {
  for (std::size_t k = 0; k < max_states; ++k) {
    const py::object array = group[first + k];
    const ArrayName name = naming(state_name(k));
    if (!optional || !array.is_none()) expect_state(cell, k, name, array);
    if (k < cell.states.size()) f(k, name, array);
  }
}

}  // namespace rnncore
