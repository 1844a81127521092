package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	settle       = 50 * time.Millisecond // after the first notice: one change of the host is several notices
	readShare    = 4                     // a read may take at most one part in readShare+1 of the time
	noticeBuffer = 1 << 20               // bytes of notices the kernel may hold for us
)

// Notices of these groups mean that the view may have changed (linux/rtnetlink.h).
const followGroups = 1<<(unix.RTNLGRP_LINK-1) |
	1<<(unix.RTNLGRP_IPV4_IFADDR-1) | 1<<(unix.RTNLGRP_IPV6_IFADDR-1) |
	1<<(unix.RTNLGRP_IPV4_ROUTE-1) | 1<<(unix.RTNLGRP_IPV6_ROUTE-1)

// Follow calls changed with the host's view at once and then whenever it has become
// different, until ctx is done; it returns nil then, and an error when the host cannot
// be read. interfaces names the links to report, as for Read. changed runs in Follow's
// goroutine, and what happens meanwhile is seen afterwards.
//
// Notices are not decoded: each means "read again", 50 ms after the first of a burst
// (longer where reading takes long), so one that the kernel had to drop (ENOBUFS, which
// is itself reported) loses nothing. Follow works in the network namespace of the calling
// thread; a caller in another namespace than the process's has to lock its thread.
func Follow(ctx context.Context, interfaces []string, changed func(View)) error {
	notices, err := subscribe()
	if err != nil {
		return err
	}
	defer notices.Close()
	defer context.AfterFunc(ctx, func() { notices.Close() })()

	var last View
	buf := make([]byte, 1<<16)
	for first := true; ctx.Err() == nil; first = false {
		start := time.Now()
		v, err := Read(interfaces)
		took := time.Since(start)
		if err != nil {
			return fmt.Errorf("follow the host's routes: %w", err)
		}
		if first || !v.Equal(last) {
			last = v
			changed(v)
		}
		if err := await(notices, buf, max(settle, readShare*took)); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("follow the host's routes: %w", err)
		}
	}
	return nil
}

// subscribe opens a socket on which the kernel puts its notices. It is bound before the
// first read, so that no change falls between the two.
func subscribe() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("rtnetlink socket: %w", err)
	}
	// Without CAP_NET_ADMIN only SO_RCVBUF is allowed; a small buffer only means ENOBUFS sooner.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, noticeBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, noticeBuffer)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: followGroups}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("subscribe to rtnetlink: %w", err)
	}
	return os.NewFile(uintptr(fd), "rtnetlink"), nil
}

// await returns quiet after the first notice, having emptied the socket meanwhile.
func await(notices *os.File, buf []byte, quiet time.Duration) error {
	if err := notices.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	for first := true; ; first = false {
		_, err := notices.Read(buf)
		switch {
		case err == nil, errors.Is(err, unix.ENOBUFS): // lost notices are a notice
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		default:
			return err
		}
		if first {
			if err := notices.SetReadDeadline(time.Now().Add(quiet)); err != nil {
				return err
			}
		}
	}
}
