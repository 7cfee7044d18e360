// The core for one set of instructions; compiled once for each, with PATH_NAME and the compiler's flags for it.
#include "core.h"

namespace PATH_NAME {

// What computes in bfloat16 does only that: single precision is the same with AVX-512 and no more.
typedef Network<HAS_HALF> Here;

static void* create(const CamixerShape* shape, const int32_t* groups, const float* weights) try {
  return new Here(*shape, groups, weights);
} catch (const std::bad_alloc&) {
  return nullptr;
}

static void destroy(void* network) { delete (Here*)network; }

static int32_t run(const void* network, const CamixerPicture* picture) try {
  return compute(*(const Here*)network, *picture);
} catch (const std::bad_alloc&) {
  return 1;
}

extern const CamixerPath path;
const CamixerPath path = {create, destroy, run};

}  // namespace PATH_NAME
