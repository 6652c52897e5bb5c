package child

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// executable returns this program, also after its file was replaced.
func executable() (string, error) { return "/proc/self/exe", nil }

// attributes make the child end with its parent and keep terminal signals from it.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// closeInherited keeps descriptors inherited by this process from its children. Go
// already does so for those that it opens. It has no effect on kernels before 5.11.
func closeInherited() { _ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) }

// confine sets the child's limits, before anything else. A soft limit of CPU time
// would send a signal that Go's runtime treats as a crash, so only the hard limit is
// set, at which the kernel kills the child.
func confine(o order) error {
	for resource, value := range map[int]uint64{
		unix.RLIMIT_CPU:   o.CPUSeconds,
		unix.RLIMIT_FSIZE: o.Memory,
		unix.RLIMIT_CORE:  0,
	} {
		if err := lower(resource, value); err != nil {
			return fmt.Errorf("resource %d: %w", resource, err)
		}
	}
	// If memory runs out, the kernel should kill the child first. This may not be
	// permitted; the parent's limit applies anyway.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	if o.Yield { // no limit: where the kernel or a filter refuses, the child has its niceness
		_ = yield()
	}
	// Last, so that who sees the niceness finds the rest done. For the group, because
	// on Linux niceness belongs to each thread. A process with higher niceness may
	// not lower it.
	if err := unix.Setpriority(unix.PRIO_PGRP, 0, 10); err != nil && err != unix.EACCES {
		return fmt.Errorf("niceness: %w", err)
	}
	return nil
}

// yield gives all threads the policy SCHED_IDLE (sched(7)), which new threads inherit: any
// other thread that wakes up takes the processor at once. Without a privilege it cannot be
// taken back.
func yield() error {
	for seen := -1; ; {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		if len(threads) == seen { // no thread was made meanwhile by one that had not got it
			return nil
		}
		for _, t := range threads {
			id, err := strconv.Atoi(t.Name())
			if err != nil {
				return err
			}
			attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}
			if err := unix.SchedSetAttr(id, &attr, 0); err != nil && err != unix.ESRCH {
				return err
			}
		}
		seen = len(threads)
	}
}

// spent returns the processor time of all threads of a process. Its clock has the number that
// clock_getcpuclockid(3) makes.
func spent(pid int) (time.Duration, error) {
	const scheduler = 2 // CPUCLOCK_SCHED of linux/posix-timers.h
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|scheduler, &t); err != nil {
		return 0, err
	}
	return time.Duration(t.Nano()), nil
}

// lower sets both limits to value, or to the present hard limit if that is lower.
func lower(resource int, value uint64) error {
	var now unix.Rlimit
	if err := unix.Getrlimit(resource, &now); err != nil {
		return err
	}
	value = min(value, now.Max)
	return unix.Setrlimit(resource, &unix.Rlimit{Cur: value, Max: value})
}

// resident returns the memory of the process without pages shared with files: the
// pages of the program belong to the parent as well.
func resident(pid int) (uint64, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(data) // size, resident, shared, …; proc(5)
	if len(fields) < 3 {
		return 0, errors.New("statm: no fields")
	}
	all, err1 := strconv.ParseUint(string(fields[1]), 10, 64)
	shared, err2 := strconv.ParseUint(string(fields[2]), 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return 0, err
	}
	return (all - min(shared, all)) * uint64(os.Getpagesize()), nil
}

// spentCPU reports whether the kernel killed the child for its CPU time. The
// kernel limits it by ticks and reports it exactly. Where a hypervisor takes time
// away, ticks count that as well, so the two may differ by a tenth and more.
func spentCPU(s *os.ProcessState, limit time.Duration) bool {
	w, ok := s.Sys().(syscall.WaitStatus)
	return ok && w.Signaled() && w.Signal() == syscall.SIGKILL && s.UserTime()+s.SystemTime() >= limit/4*3
}
