// Threads that share out the tasks of one step after another, and sleep in between.
//
// They live as long as one picture is computed: nothing is left behind, in a process that forks neither.
#pragma once
#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace PATH_NAME {

class Threads {
 public:
  // wake, sleep: what each thread does when it begins and ends, the calling one included.
  Threads(int count, std::function<void()> wake, std::function<void()> sleep) : sleep(sleep) {
    wake();
    try {
      for (int number = 1; number < count; number++)
        threads.emplace_back([this, number, wake, sleep] {
          wake();
          work(number);
          sleep();
        });
    } catch (const std::system_error&) {  // the system gives no more: fewer do as well
    }
  }
  ~Threads() {
    {
      std::lock_guard<std::mutex> guard(lock);
      over = true;
    }
    begun.notify_all();
    for (std::thread& thread : threads) thread.join();
    sleep();
  }

  // Calls task(number, thread) for numbers below `count`, in any order, and returns when all are done.
  template <class Task>
  void each(int count, const Task& task) {
    if (threads.empty() || count < 2) {
      for (int number = 0; number < count; number++) task(number, 0);
      return;
    }
    next = 0;
    {
      std::lock_guard<std::mutex> guard(lock);
      current = [&, count](int thread) {
        for (int number; (number = next++) < count;) task(number, thread);
      };
      round++;
      busy = (int)threads.size();
    }
    begun.notify_all();
    current(0);
    std::unique_lock<std::mutex> guard(lock);
    done.wait(guard, [this] { return busy == 0; });
  }

 private:
  std::vector<std::thread> threads;
  std::function<void()> sleep;
  std::function<void(int)> current;
  std::atomic<int> next{0};
  std::mutex lock;
  std::condition_variable begun, done;
  long round = 0;
  int busy = 0;
  bool over = false;

  void work(int number) {
    std::unique_lock<std::mutex> guard(lock);
    for (long seen = 0;;) {
      begun.wait(guard, [&] { return over || round != seen; });
      if (over) return;
      seen = round;
      guard.unlock();
      current(number);
      guard.lock();
      if (--busy == 0) done.notify_one();
    }
  }
};

}  // namespace PATH_NAME
