package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/dirigo-lb/dirigo/health"
)

// failure is a bad answer whose kind is known where it is found.
type failure struct {
	why  health.Why
	text string
}

func (f *failure) Error() string { return f.text }

func fail(why health.Why, format string, args ...any) error {
	return &failure{why, fmt.Sprintf(format, args...)}
}

// quote shows what a server sent to people: short, and with nothing that could upset a
// terminal or a log.
func quote[B string | []byte](b B) string {
	const most = 80
	if len(b) > most {
		return strconv.QuoteToASCII(string(b[:most])) + "..."
	}
	return strconv.QuoteToASCII(string(b))
}

var errTooLong = &failure{health.WhyTooLong, "an answer without end"}

// reason tells the kind of err and says it for people. Order matters: a handshake that
// ran out of time is a timeout, not bad TLS.
func reason(ctx context.Context, err error) (health.Why, string) {
	if ctx.Err() == context.Canceled {
		return health.WhyLocal, "the probe was cancelled"
	}
	if f, ok := errors.AsType[*failure](err); ok {
		return f.why, f.text
	}
	if errors.Is(err, health.ErrLocal) {
		return health.WhyLocal, err.Error()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return health.WhyTimeout, "no answer in time"
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errnoReason(errno, err)
	}
	if bad, ok := errors.AsType[x509.CertificateInvalidError](err); ok && bad.Reason == x509.Expired {
		return health.WhyExpired, "certificate: " + bad.Error()
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return health.WhyTLS, strings.TrimPrefix(err.Error(), "tls: ")
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return health.WhyClosed, "connection closed before the answer was complete"
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && (op.Op == "remote error" || op.Op == "local error") {
		return health.WhyTLS, "TLS: " + err.Error() // an alert, as crypto/tls gives it
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return health.WhyResolve, err.Error()
	}
	return health.WhyProtocol, err.Error()
}

// errnoReason sorts what the system said. Whatever is not known to come from the other
// side is the director's own trouble: no server may die of it.
func errnoReason(errno syscall.Errno, err error) (health.Why, string) {
	switch errno {
	case syscall.ECONNREFUSED:
		return health.WhyRefused, "connection refused"
	case syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED:
		return health.WhyClosed, "connection reset before the answer was complete"
	case syscall.ETIMEDOUT:
		return health.WhyTimeout, "no answer in time"
	case syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN, syscall.ENONET,
		syscall.ENOPROTOOPT: // ICMP protocol unreachable
		return health.WhyUnreachable, errno.Error()
	case syscall.EACCES:
		// ICMPv6 "administratively prohibited" (kernel tab_unreach in net/ipv6/icmp.c);
		// from socket() it would be our own right that is missing.
		if call, ok := errors.AsType[*os.SyscallError](err); ok && call.Syscall != "socket" {
			return health.WhyUnreachable, "administratively prohibited"
		}
	}
	return health.WhyLocal, err.Error()
}
