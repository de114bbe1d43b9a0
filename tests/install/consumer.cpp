// An outside program: includes the public interface, links quarry::quarry, and runs some of it.
#include <cstdio>
#include <vector>

#include "host/mine/miner.h"
#include "kernels/core/buffer.h"
#include "kernels/core/exact_score.h"
#include "kernels/core/exec.h"

int main() {
  quarry::Exec exec;
  exec.threads = 2;
  const std::vector<float> query = {1.0f, 2.0f, 3.0f};
  const std::vector<float> items = {1.0f, 0.0f, 0.0f, 0.0f, 1.0f, 1.0f};
  quarry::HostBuffer<float> scores(exec, 2);
  quarry::parallel_for(exec, 2, 1, [&](std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t i = begin; i < end; ++i) {
      scores.data()[i] = quarry::exact_dot_host(query.data(), items.data() + 3 * i, 3);
    }
  });
  const bool right = scores.data()[0] == 1.0f && scores.data()[1] == 5.0f;
  std::printf("consumer: scores %g and %g (%s), %s\n", scores.data()[0], scores.data()[1],
              quarry::exact_score_instruction_set(), right ? "as expected" : "WRONG");
  return right ? 0 : 1;
}
