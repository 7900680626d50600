// CTC: Graves et al., "Connectionist temporal classification", ICML 2006, in log space.
#include "nn/ctc.hpp"

#include <limits>

#include "core/arena.hpp"
#include "nn/softmax.hpp"

namespace rnncore {
namespace {

constexpr double impossible = -std::numeric_limits<double>::infinity();  // log 0

// States are taken in blocks of this many.
constexpr Index states_at_once = 8;
using States = Eigen::Array<double, states_at_once, 1>;

States states(const double* from) {
  return Eigen::Map<const States>(from);
}

// log(exp a + exp b + exp c)
States log_sum_exp(const States& a, const States& b, const States& c) {
  const States most = a.max(b).max(c);
  const States base = (most == impossible).select(States::Zero(), most);  // no inf - inf
  return base + ((a - base).exp() + (b - base).exp() + (c - base).exp()).log();
}

// The alignments of one sequence as paths through 2 S + 1 states, labels with blanks around them:
// a path stays, goes one state on, or two on where that leaves out a blank between two labels that
// differ. Rows of states have two impossible ones in front, and two behind their blocks.
template <class T>
class Lattice {
 public:
  static Index width(Index labels) { return 2 + round_up(2 * labels + 1, states_at_once) + 2; }
  static Index rows(Index steps) { return steps + 4; }

  // `block` has rows(T) rows of width(S), `sums` is of T.
  Lattice(const CtcArgs<T>& args, Index sequence, double* block, LogSum* sums)
      : args_(args),
        b_(sequence),
        steps_(args.lengths[sequence]),
        count_(2 * args.label_lengths[sequence] + 1),
        width_(width(args.labels.cols)),
        alpha_(block),
        beta_(alpha_ + steps_ * width_),
        later_(beta_ + width_),
        emission_(later_ + width_),
        leap_(emission_ + width_),
        sums_(sums) {
    std::fill_n(block, rows(steps_) * width_, impossible);
    for (Index s = 3; s < count_; s += 2) leap_[2 + s] = label(s) == label(s - 2) ? impossible : 0;
  }

  // Returns -log p and writes its gradient, times `scale`.
  double loss(T scale, Pace& pace) {
    if (steps_ == 0) return count_ == 1 ? 0.0 : -impossible;
    for (Index t = 0; t < steps_ && !pace.ends(); ++t) forward(t, scale);
    const double* last = alpha_ + (steps_ - 1) * width_ + 2;
    const double log_p = add(last[count_ - 1], count_ > 1 ? last[count_ - 2] : impossible);
    if (log_p == impossible) return clear();
    for (Index t = steps_ - 1; t >= 0 && !pace.ends(); --t) backward(t, scale, log_p);
    return -log_p;
  }

 private:
  Index label(Index s) const { return s % 2 == 0 ? args_.blank : args_.labels.row(b_)[s / 2]; }

  static double add(double a, double b) {
    const double most = std::max(a, b);
    return most == impossible ? most : most + std::log1p(std::exp(std::min(a, b) - most));
  }

  // Log probability of each state's symbol at a step.
  void read_emission(Index t) {
    const T* z = args_.logits.row(t, b_);
    const auto log_p = [&](Index v) { return sums_[t](static_cast<double>(z[v])); };
    const double blank = log_p(args_.blank);
    for (Index s = 0; s < count_; s += 2) emission_[2 + s] = blank;
    for (Index s = 1; s < count_; s += 2) emission_[2 + s] = log_p(label(s));
  }

  // alpha_t(s): of all ways to be in s at step t, emissions up to t; dlogits_t = scale softmax
  void forward(Index t, T scale) {
    sums_[t] = scaled_softmax(args_.logits.row(t, b_), scale, args_.dlogits.row(t, b_),
                              args_.logits.features);
    read_emission(t);
    double* alpha = alpha_ + t * width_ + 2;
    if (t == 0) {
      std::copy_n(emission_ + 2, std::min<Index>(count_, 2), alpha);
      return;
    }
    const double *before = alpha - width_, *emission = emission_ + 2, *leap = leap_ + 2;
    for (Index s = 0; s < count_; s += states_at_once) {
      const States skipping = states(before + s - 2) + states(leap + s);
      Eigen::Map<States>(alpha + s) =
          log_sum_exp(states(before + s), states(before + s - 1), skipping) + states(emission + s);
    }
  }

  // beta_t(s): of all ways on from s, emissions after t. Takes the share of paths through each
  // state, exp(alpha + beta - log p), off its symbol's gradient.
  void backward(Index t, T scale, double log_p) {
    double *beta = beta_ + 2, *later = later_ + 2;
    if (t == steps_ - 1) {
      beta[count_ - 1] = 0;
      if (count_ > 1) beta[count_ - 2] = 0;
    } else {
      const double* leap = leap_ + 2;
      for (Index s = 0; s < count_; s += states_at_once) {
        Eigen::Map<States>(later + s) = states(beta + s) + states(emission_ + 2 + s);
      }
      for (Index s = 0; s < count_; s += states_at_once) {
        const States skipping = states(later + s + 2) + states(leap + s + 2);
        Eigen::Map<States>(beta + s) =
            log_sum_exp(states(later + s), states(later + s + 1), skipping);
      }
    }
    read_emission(t);
    take_off(t, scale, log_p);
  }

  void take_off(Index t, T scale, double log_p) {
    double* share = later_ + 2;  // free till the next step
    const double* alpha = alpha_ + t * width_ + 2;
    for (Index s = 0; s < count_; s += states_at_once) {
      Eigen::Map<States>(share + s) = (states(alpha + s) + states(beta_ + 2 + s) - log_p).exp();
    }
    T* dz = args_.dlogits.row(t, b_);
    double blank = 0;
    for (Index s = 0; s < count_; s += 2) blank += share[s];
    dz[args_.blank] -= static_cast<T>(static_cast<double>(scale) * blank);
    for (Index s = 1; s < count_; s += 2) {
      dz[label(s)] -= static_cast<T>(static_cast<double>(scale) * share[s]);
    }
  }

  // No path: no gradient.
  double clear() {
    for (Index t = 0; t < steps_; ++t) {
      std::fill_n(args_.dlogits.row(t, b_), args_.dlogits.features, T{0});
    }
    return -impossible;
  }

  const CtcArgs<T>& args_;
  const Index b_, steps_, count_, width_;
  double *const alpha_, *const beta_, *const later_, *const emission_, *const leap_;
  LogSum* const sums_;
};

}  // namespace

template <class T>
double ctc(const CtcArgs<T>& args) {
  const Index T_ = args.logits.steps, B = args.logits.batch, V = args.logits.features;
  const Index states = Lattice<T>::width(args.labels.cols), rows = Lattice<T>::rows(T_);
  double total = 0;
  for (Index b = 0; b < B; ++b) total += args.counted.weight(b);
  double* block = nullptr;
  LogSum* sums = nullptr;
  ArenaPlan plan;
  plan.array(block, checked_mul(B, checked_mul(rows, states)));
  plan.array(sums, checked_mul(B, T_));
  const Arena arena(plan);
  const Index step_work = 8 * V + 50 * states, work = B * T_ * step_work;
  const double sum = chunked_sum(B, 1, work, [&](Range sequences, const Worker& worker) {
    double part = 0;
    Pace pace(worker, step_work);
    for (Index b = sequences.begin; b < sequences.end; ++b) {
      const double w = args.counted.weight(b);
      for (Index t = w == 0 ? 0 : args.lengths[b]; t < T_; ++t) {
        std::fill_n(args.dlogits.row(t, b), V, T{0});
      }
      if (w == 0) continue;
      Lattice<T> lattice(args, b, block + b * rows * states, sums + b * T_);
      part += w * lattice.loss(static_cast<T>(w / total), pace);
    }
    return part;
  });
  return total == 0 ? 0.0 : sum / total;
}

template double ctc(const CtcArgs<float>&);
template double ctc(const CtcArgs<double>&);

}  // namespace rnncore
