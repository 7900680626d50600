// The merged products: C = op(A) op(B) or C += op(A) op(B), all row-major.
#pragma once

#include "core/arena.hpp"
#include "core/parallel.hpp"
#include "core/types.hpp"
#include "gemm/columns.hpp"
#include "gemm/precision.hpp"

namespace rnncore {

enum class Op { none, transpose };
enum class Into { assign, accumulate };

// What the products of one call have in common: what decides their kernel besides their own sizes,
// and the memory in which each thread packs operands.
template <class T>
class ProductPlan {
 public:
  ProductPlan() = default;
  // `problem_rows`: those of the problem that C's rows are a chunk of; 0: C is all of it.
  // `batch_invariant`: see ProductSize.
  explicit ProductPlan(Precision precision, Index problem_rows = 0, bool batch_invariant = false)
      : precision_(precision), problem_rows_(problem_rows), batch_invariant_(batch_invariant) {}

  // Makes room for an M x N product of depth K, called for each before `plan`.
  void fit(Index m, Index n, Index k);
  void plan(ArenaPlan& plan, int threads) {
    plan.array(memory_, checked_mul(threads, memory_each_));
  }

  Precision precision() const { return precision_; }
  Index problem_rows() const { return problem_rows_; }
  bool batch_invariant() const { return batch_invariant_; }
  T* memory(const Worker& worker) const { return memory_ + worker.thread * memory_each_; }

 private:
  Precision precision_ = float32_matmul_precision();
  Index problem_rows_ = 0;
  bool batch_invariant_ = false;
  Index memory_each_ = 0;  // elements of each thread
  T* memory_ = nullptr;
};

// Called for every part of a run; each computes its share of C. A sum runs over blocks of k in
// their order, whatever the share: the bits do not depend on the number of parts. Op::transpose of
// both operands is not offered.
template <class T>
void product(const Worker& worker, Into into, Op op_a, Matrix<const T> a, Op op_b,
             Matrix<const T> b, Matrix<T> c, const ProductPlan<T>& plan);

// C = A B^T for few rows of A: B is read as it is, no memory is needed.
template <class T>
void product_in_place(const Worker& worker, Matrix<const T> a, Matrix<const T> b, Matrix<T> c);

}  // namespace rnncore
