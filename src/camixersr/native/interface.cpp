// Which path a machine has, and the way to it. Nothing here uses more than the oldest x86-64 processor has.
#include "interface.h"

#include <cpuid.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <new>

namespace native_avx2 {
extern const CamixerPath path;
}
namespace native_avx512 {
extern const CamixerPath path;
}
namespace native_avx512_bf16 {
extern const CamixerPath path;
}
namespace native_amx {
extern const CamixerPath path;
}

namespace {

bool bit(unsigned leaf, unsigned part, int reg, int number) {
  unsigned r[4] = {0};
  return __get_cpuid_count(leaf, part, &r[0], &r[1], &r[2], &r[3]) && r[reg] >> number & 1;
}

// Whether the system keeps the registers of these states.
bool kept(unsigned states) {
  if (!bit(1, 0, 2, 27)) return false;  // OSXSAVE
  unsigned low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & states) == states;
}

bool has_avx2() { return kept(0x6) && bit(7, 0, 1, 5) && bit(1, 0, 2, 12); }
bool has_avx512() {  // F, DQ, BW, VL
  return has_avx2() && kept(0xe6) && bit(7, 0, 1, 16) && bit(7, 0, 1, 17) && bit(7, 0, 1, 30) && bit(7, 0, 1, 31);
}
bool has_half() { return has_avx512() && bit(7, 1, 0, 5); }
bool has_tiles() {
  if (!has_half() || !bit(7, 0, 3, 22) || !bit(7, 0, 3, 24) || !kept(0x60000)) return false;
  constexpr long ASK = 0x1023, TILES = 18;  // ARCH_REQ_XCOMP_PERM: a process asks for the tiles' registers once
  return syscall(SYS_arch_prctl, ASK, TILES) == 0;
}

const CamixerPath* path_of(const char* name) {
  if (!strcmp(name, "avx2")) return has_avx2() ? &native_avx2::path : nullptr;
  if (!strcmp(name, "avx512")) return has_avx512() ? &native_avx512::path : nullptr;
  if (!strcmp(name, "avx512_bf16")) return has_half() ? &native_avx512_bf16::path : nullptr;
  if (!strcmp(name, "amx")) return has_tiles() ? &native_amx::path : nullptr;
  return nullptr;
}

struct Handle {
  const CamixerPath* path;
  void* network;
};

}  // namespace

extern "C" {

const char* camixer_version() { return CAMIXER_VERSION; }

int32_t camixer_has(const char* path) { return path_of(path) != nullptr; }

void* camixer_create(const char* name, const CamixerShape* shape, const int32_t* groups, const float* weights) {
  const CamixerPath* path = path_of(name);
  void* network = path ? path->create(shape, groups, weights) : nullptr;
  if (!network) return nullptr;
  Handle* handle = new (std::nothrow) Handle{path, network};
  if (!handle) path->destroy(network);
  return handle;
}

void camixer_destroy(void* handle) {
  Handle* given = (Handle*)handle;
  given->path->destroy(given->network);
  delete given;
}

int32_t camixer_run(const void* handle, const CamixerPicture* picture) {
  const Handle* given = (const Handle*)handle;
  return given->path->run(given->network, picture);
}
}
