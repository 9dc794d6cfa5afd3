// A memory model: what a warp's loads and stores would ask of a GPU's memory. The compiler calls the recorder at each
// access of the kernels' source (-fsanitize=thread does that; recorder.cpp has what it calls); accesses of a warp's
// threads at one place in the code, each at the same time around, are one instruction.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace on_host {

constexpr int warp_size = 32, sector_size = 32, line_size = 128, banks = 32, bank_size = 4;

// Of the instructions of one direction that touch one tensor.
struct Accesses {
  int64_t instructions = 0;
  int64_t bytes = 0;           // that an instruction's threads use, each counted once
  int64_t sectors = 0;         // of 32 bytes, touched by an instruction
  int64_t lines = 0;           // of 128 bytes
  int64_t block_sectors = 0;   // the different ones of a block: what its L1 cache asks of L2
  int64_t kernel_sectors = 0;  // the different ones of all blocks: what L2 asks of memory
  int64_t widest = 0;          // bytes of a thread
  std::vector<bool> seen;
};

struct Buffer {
  uintptr_t address;
  int64_t bytes;
  Accesses read, written;
};

struct SharedAccesses {
  int64_t instructions = 0, conflicts = 0;  // cycles beyond what the bytes need
  int64_t worst = 0;                        // cycles of an instruction, in multiples of that
};

// An access of the first thread of the first block, in order.
struct Step {
  int64_t buffer, bytes;
  bool write;
};

struct Launch {
  std::string kernel;  // what its parameters are
  int64_t blocks, threads;
  std::map<int64_t, Buffer> buffers;  // by allocation
  SharedAccesses shared;
  std::vector<Step> first_thread;
};

class Recorder {
 public:
  bool enabled = false;
  bool running = false;  // a thread of a kernel is

  void begin_launch(const char* kernel, int64_t blocks, int64_t threads);
  void end_block();
  void access(const void* place, const void* address, int bytes, bool write);

  // All launches since the last call, as JSON.
  std::string report();

 private:
  struct Event {
    const void* place;
    uintptr_t address;
    int bytes, lane;
    bool write;
  };
  void add_instruction(const std::vector<const Event*>& threads,
                       std::map<std::pair<int64_t, bool>, std::vector<int64_t>>&);

  std::vector<std::vector<Event>> events_;  // of a block, by thread
  std::vector<Launch> launches_;
};
inline Recorder recorder;

}  // namespace on_host
