// Connectionist temporal classification (CTC): labels that no step is given for.
#pragma once

#include "nn/counted.hpp"

namespace rnncore {

// Derived in docs/math/losses.md. Checked before: every length and every label that counts.
template <class T>
struct CtcArgs {
  Sequence<const T> logits;    // T x B x V
  Matrix<const Index> labels;  // (B, S), each in [0, V) and not `blank` up to its length
  const Index* lengths;        // (B,) steps of each sequence, in [0, T]
  const Index* label_lengths;  // (B,) in [0, S]
  Index blank;                 // in [0, V)
  Counted<T> counted;          // sequences
  Sequence<T> dlogits;         // T x B x V, zero behind a sequence's end
};

// Weighted mean of -log p(labels | logits) over the sequences that count. Labels that do not fit in
// their steps have p = 0: the loss is infinite, and their sequence gets no gradient.
template <class T>
double ctc(const CtcArgs<T>& args);

}  // namespace rnncore
