// The product by packed panels, cut into register tiles.
#include "gemm/microkernel.hpp"

#include <algorithm>

#include "core/cache.hpp"
#include "core/simd.hpp"
#include "gemm/register_tile.hpp"

namespace rnncore {
namespace {

// Register tiles that one piece of a panel meets while it is in L1, beside 6 KB of their sums.
constexpr Index tiles_at_once = 6 * 1024 / (max_accumulators * sizeof(Simd<float>));

// The cut of some rows into register tiles: `larger` of least + 1 rows, then of least.
struct RowTiles {
  Index count, least, larger;

  RowTiles(Index rows, Index most) : count(1), least(rows), larger(0) {
    if (rows <= most) return;
    count = ceil_div(rows, most);
    least = rows / count;
    larger = rows % count;
  }

  Index most() const { return least + (larger > 0 ? 1 : 0); }
  Index first_row(Index tile) const { return tile * least + std::min(tile, larger); }
  Index rows(Index tile) const { return least + (tile < larger ? 1 : 0); }
};

// What one packed panel, or several side by side, is multiplied by. `far`: panels lie beyond L2.
template <class T, int Gates, bool far>
class PanelSums {
 public:
  PanelSums(const T* a, Index stride, const Columns& columns, const RowTiles& tiles)
      : a_(a), stride_(stride), columns_(columns), tiles_(tiles) {}

  // The sums of some tiles: valid until the next call.
  const T* multiply(Range tiles, const T* panels, Index panel_stride, int count) {
    if (columns_.size[1] == 0 && columns_.size[0] <= depth_block) {
      multiply_block(tiles, columns_.begin[0], columns_.size[0], panels, panel_stride, count,
                     sums_);
    } else {
      multiply_blocks(tiles, panels, panel_stride, count);
    }
    return sums_;
  }

 private:
  using V = Simd<T>;

  void multiply_blocks(Range tiles, const T* panels, Index panel_stride, int count) {
    T* to = sums_;
    Index done = 0;  // k of the panel
    for (std::size_t run = 0; run < columns_.size.size(); ++run) {
      for (Index k = 0; k < columns_.size[run]; k += depth_block) {
        const Index depth = std::min(depth_block, columns_.size[run] - k);
        multiply_block(tiles, columns_.begin[run] + k, depth, panels + done * Gates * V::width,
                       panel_stride, count, to);
        if (to == block_) add_block(tiles, count);
        done += depth;
        to = block_;
      }
    }
  }

  void multiply_block(Range tiles, Index column, Index depth, const T* panels, Index panel_stride,
                      int count, T* to) const {
    constexpr Index weights = Gates * V::width;  // of a panel and one k
    const Index step = far ? ceil_div(weights, tiles.size()) : 0;
    for (Index k = 0; k < depth; k += depth_piece) {
      const Index piece = std::min(depth_piece, depth - k);
      Ahead<T> ahead{panels + (k + piece) * weights, step};
      T* sums = to;
      for (Index tile = tiles.begin; tile < tiles.end; ++tile) {
        const Index rows = tiles_.rows(tile);
        Shapes<T, Gates>::template kernel<far>(rows, count)(
            a_ + tiles_.first_row(tile) * stride_ + column + k, stride_, piece,
            panels + k * weights, panel_stride, k > 0, sums, far ? &ahead : nullptr);
        sums += rows * count * weights;
        ahead.next += piece * step;
      }
    }
  }

  void add_block(Range tiles, int count) {
    const Index rows = tiles_.first_row(tiles.end) - tiles_.first_row(tiles.begin);
    for (Index i = 0; i < rows * count * Gates * V::width; i += V::width) {
      (V::load(sums_ + i) + V::load(block_ + i)).store(sums_ + i);
    }
  }

  static constexpr Index most = tiles_at_once * max_accumulators * V::width;

  const T* const a_;
  const Index stride_;
  const Columns& columns_;
  const RowTiles& tiles_;
  alignas(64) T sums_[most], block_[most];
};

template <class T, int Gates, bool far>
[[gnu::always_inline]] inline void multiply_panels(const T* a, Index stride, const Columns& columns,
                                                   const T* packed, const RowTiles& tiles,
                                                   Range panels, bool backwards,
                                                   const BlockSums<T>& receive) {
  const Index panel_stride = columns.total() * Gates * Simd<T>::width;
  PanelSums<T, Gates, far> product(a, stride, columns, tiles);
  for (Index done = 0; done < panels.size();) {
    const int count = Shapes<T, Gates>::panels(tiles.most(), panels.size() - done);
    const Index panel = backwards ? panels.end - done - count : panels.begin + done;
    for (Index tile = 0; tile < tiles.count; tile += tiles_at_once) {
      const Range some{tile, std::min(tiles.count, tile + tiles_at_once)};
      const Index first = tiles.first_row(some.begin);
      receive(first, tiles.first_row(some.end) - first, panel, count,
              product.multiply(some, packed + panel * panel_stride, panel_stride, count));
    }
    done += count;
  }
}

template <class T, int Gates>
void multiply(const T* a, Index stride, const Columns& columns, const T* packed, Index rows,
              Range panels, bool backwards, const BlockSums<T>& receive) {
  static_assert(has_microkernel(Gates));
  if (rows <= 0) return;
  const RowTiles tiles(rows, Shapes<T, Gates>::max_rows);
  const Index weights = panels.size() * columns.total() * Gates * Simd<T>::width;
  const bool far = tiles.count > 1 && weights * Index{sizeof(T)} > l2_bytes();
  if (far)
    return multiply_panels<T, Gates, true>(a, stride, columns, packed, tiles, panels, backwards,
                                           receive);
  multiply_panels<T, Gates, false>(a, stride, columns, packed, tiles, panels, backwards, receive);
}

}  // namespace

template <class T>
PanelProduct<T> panel_product(Index gates) {
  assert(has_microkernel(gates));
  constexpr PanelProduct<T> products[max_gates] = {&multiply<T, 1>, &multiply<T, 2>,
                                                   &multiply<T, 3>, &multiply<T, 4>};
  return products[gates - 1];
}

template PanelProduct<float> panel_product(Index);
template PanelProduct<double> panel_product(Index);

}  // namespace rnncore
