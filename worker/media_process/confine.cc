#include "worker/media_process/confine.h"

#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace atelier::media {
namespace {

#ifdef __clang__
#define ATELIER_SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ATELIER_SANITIZED 1
#else
#define ATELIER_SANITIZED 0
#endif
#if ATELIER_SANITIZED
constexpr bool kSanitized = true;  // sanitizers reserve terabytes of addresses, and try them with pipes
#else
constexpr bool kSanitized = false;
#endif

constexpr int kAllowed[] = {SCMP_SYS(read),
                            SCMP_SYS(write),
                            SCMP_SYS(readv),
                            SCMP_SYS(writev),
                            SCMP_SYS(recvfrom),
                            SCMP_SYS(recvmsg),
                            SCMP_SYS(sendmsg),
                            SCMP_SYS(sendto),
                            SCMP_SYS(poll),
                            SCMP_SYS(ppoll),
                            SCMP_SYS(close),
                            SCMP_SYS(lseek),
                            SCMP_SYS(fstat),
                            SCMP_SYS(newfstatat),
                            SCMP_SYS(munmap),
                            SCMP_SYS(mremap),
                            SCMP_SYS(madvise),
                            SCMP_SYS(brk),
                            SCMP_SYS(futex),
                            SCMP_SYS(set_robust_list),
                            SCMP_SYS(get_robust_list),
                            SCMP_SYS(rseq),
                            SCMP_SYS(set_tid_address),
                            SCMP_SYS(sched_yield),
                            SCMP_SYS(sched_getaffinity),
                            SCMP_SYS(sched_getparam),
                            SCMP_SYS(sched_getscheduler),
                            SCMP_SYS(getpriority),
                            SCMP_SYS(rt_sigaction),
                            SCMP_SYS(rt_sigprocmask),
                            SCMP_SYS(rt_sigreturn),
                            SCMP_SYS(sigaltstack),
                            SCMP_SYS(clock_gettime),
                            SCMP_SYS(clock_getres),
                            SCMP_SYS(clock_nanosleep),
                            SCMP_SYS(nanosleep),
                            SCMP_SYS(gettimeofday),
                            SCMP_SYS(time),
                            SCMP_SYS(getrandom),
                            SCMP_SYS(getpid),
                            SCMP_SYS(gettid),
                            SCMP_SYS(getcpu),
                            SCMP_SYS(sysinfo),
                            SCMP_SYS(uname),
                            SCMP_SYS(exit),
                            SCMP_SYS(exit_group),
                            SCMP_SYS(restart_syscall),
                            SCMP_SYS(membarrier)};
// Libraries look for optional files of the system and go on without.
constexpr int kRefused[] = {SCMP_SYS(open),
                            SCMP_SYS(openat),
                            SCMP_SYS(openat2),
                            SCMP_SYS(access),
                            SCMP_SYS(stat),
                            SCMP_SYS(lstat),
                            SCMP_SYS(faccessat),
                            SCMP_SYS(faccessat2),
                            SCMP_SYS(readlink),
                            SCMP_SYS(readlinkat),
                            SCMP_SYS(statx),
                            SCMP_SYS(sched_setaffinity),
                            SCMP_SYS(sched_setscheduler),
                            SCMP_SYS(ioctl),
                            SCMP_SYS(prlimit64),
                            SCMP_SYS(getrlimit)};

bool Rules(scmp_filter_ctx filter) {
  bool ok = true;
  const auto add = [&](uint32_t action, int call) { ok &= seccomp_rule_add(filter, action, call, 0) == 0; };
  for (const int call : kAllowed) add(SCMP_ACT_ALLOW, call);
  for (const int call : kRefused) add(SCMP_ACT_ERRNO(EACCES), call);
  if (kSanitized) add(SCMP_ACT_ALLOW, SCMP_SYS(pipe2));
  add(SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3));  // its flags lie in memory; glibc goes on with clone
  // Threads, no processes; memory, but none that is run.
  ok &= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                         SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD)) == 0;
  for (const int call : {SCMP_SYS(mmap), SCMP_SYS(mprotect)})
    ok &= seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)) == 0;
  // Names of threads; glibc names memory as well, where the kernel can.
  ok &= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1, SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME)) == 0;
  ok &= seccomp_rule_add(filter, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(prctl), 1, SCMP_A0(SCMP_CMP_NE, PR_SET_NAME)) == 0;
  // abort() and nothing else: a signal to itself.
  ok &= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                         SCMP_A0(SCMP_CMP_EQ, static_cast<scmp_datum_t>(getpid()))) == 0;
  return ok;
}

Status Refused(const char* what, int error) {
  return FailedPrecondition("the process that reads videos and sound cannot be confined (", what, ": ",
                            std::strerror(error),
                            "); it needs a kernel with seccomp; a worker with --no-media-process decodes by itself");
}

}  // namespace

Status Confine(uint64_t memory_bytes, uint64_t cpu_seconds) {
  const auto bound = [](auto resource, uint64_t value) {
    const rlimit limit{value, value};
    return setrlimit(resource, &limit) == 0;
  };
  if (!bound(RLIMIT_CORE, 0) || !bound(RLIMIT_FSIZE, 0) || (!kSanitized && !bound(RLIMIT_AS, memory_bytes)) ||
      (cpu_seconds != 0 && !bound(RLIMIT_CPU, cpu_seconds)))
    return Refused("setrlimit", errno);
  scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
  if (filter == nullptr) return Refused("seccomp_init", ENOMEM);
  const bool ruled = Rules(filter);
  const int loaded = ruled ? seccomp_load(filter) : -EINVAL;  // sets no_new_privs as well
  seccomp_release(filter);
  return loaded == 0 ? OkStatus() : Refused("seccomp", -loaded);
}

}  // namespace atelier::media
