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

// executable is this very program, also after its file was replaced.
func executable() (string, error) { return "/proc/self/exe", nil }

// attributes make the child die with us and keep signals of a terminal from it.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// closeInherited keeps descriptors that this process was started with from
// its children. Go opens all others that way. Kernels before 5.11 cannot.
func closeInherited() { _ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) }

// confine is the child's first act. A soft limit of CPU time would be a signal,
// which Go's runtime takes for a crash; with the hard one alone the kernel kills.
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
	// For the group, because on Linux niceness is a property of each thread.
	// Who is nicer already may not change it.
	if err := unix.Setpriority(unix.PRIO_PGRP, 0, 10); err != nil && err != unix.EACCES {
		return fmt.Errorf("niceness: %w", err)
	}
	// If memory runs out all the same, the child goes first. Not everybody may
	// say so, and the parent's own limit stands.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	return nil
}

// lower sets both limits to value, or to the hard one if that is lower.
func lower(resource int, value uint64) error {
	var now unix.Rlimit
	if err := unix.Getrlimit(resource, &now); err != nil {
		return err
	}
	value = min(value, now.Max)
	return unix.Setrlimit(resource, &unix.Rlimit{Cur: value, Max: value})
}

// resident is the memory of the process that it shares with no file: its
// program's pages are the parent's as well.
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
// kernel counts that in ticks and reports it exactly, so the two differ a little.
func spentCPU(s *os.ProcessState, limit time.Duration) bool {
	w, ok := s.Sys().(syscall.WaitStatus)
	return ok && w.Signaled() && w.Signal() == syscall.SIGKILL && s.UserTime()+s.SystemTime() >= limit/10*9
}
