package ipvsadm

import (
	"fmt"
	"strings"
	"syscall"
)

// refusal is an operation and what the director answered.
type refusal struct {
	op    Op
	errno syscall.Errno
}

// refusals are the sentences of libipvs that depend on the operation.
var refusals = map[refusal]string{
	{OpAddService, syscall.EEXIST}:   "Service already exists",
	{OpAddService, syscall.ENOENT}:   "Scheduler or persistence engine not found",
	{OpEditService, syscall.ENOENT}:  "Scheduler or persistence engine not found",
	{OpEditService, syscall.ESRCH}:   "No such service",
	{OpDeleteService, syscall.ESRCH}: "No such service",
	{OpZero, syscall.ESRCH}:          "No such service",
	{OpList, syscall.ESRCH}:          "No such service",
	{OpAddServer, syscall.EEXIST}:    "Destination already exists",
	{OpAddServer, syscall.ESRCH}:     "Service not defined",
	{OpEditServer, syscall.ENOENT}:   "No such destination",
	{OpEditServer, syscall.ESRCH}:    "Service not defined",
	{OpDeleteServer, syscall.ENOENT}: "No such destination",
	{OpDeleteServer, syscall.ESRCH}:  "Service not defined",
	{OpStartDaemon, syscall.EEXIST}:  "Daemon has already run",
	{OpStopDaemon, syscall.ESRCH}:    "No daemon is running",
}

// commonRefusals are the sentences of libipvs for any operation. Two blanks after
// "operation." are its own.
var commonRefusals = map[syscall.Errno]string{
	syscall.EPERM:        "Permission denied (you must be root)",
	syscall.EINVAL:       "Invalid operation.  Possibly wrong module version, address not unicast, ...",
	syscall.ENOPROTOOPT:  "Protocol not available",
	syscall.ENOMEM:       "Memory allocation problem",
	syscall.EOPNOTSUPP:   "Operation not supported with IPv6",
	syscall.EAFNOSUPPORT: "Operation not supported with specified address family",
	syscall.EMSGSIZE:     "Module is wrong version",
}

// Refused words the director's refusal of an operation. errno says what the kernel
// would have answered; nil comes back for 0. Listing and saving exit with 1, anything
// else with 255, and a restore run goes on after it unless it was a listing.
func Refused(op Op, errno syscall.Errno) *Error {
	if errno == 0 {
		return nil
	}
	e := &Error{Text: Strerror(op, errno), ExitCode: ExitRefused}
	if op == OpList || op == OpSave {
		e.ExitCode, e.Ends = ExitList, true
	}
	return e
}

// Strerror is the sentence for a refusal, as ipvs_strerror of libipvs gives it.
func Strerror(op Op, errno syscall.Errno) string {
	if s, ok := refusals[refusal{op, errno}]; ok {
		return s
	}
	if s, ok := commonRefusals[errno]; ok {
		return s
	}
	return cText(errno)
}

// cText is the C library's text, which differs from Go's in its first letter.
func cText(errno syscall.Errno) string {
	s := errno.Error()
	if strings.HasPrefix(s, "errno ") {
		return fmt.Sprintf("Unknown error %d", int(errno))
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// Unreachable is the refusal of a director that does not answer, in the words
// ipvsadm has for a kernel without IPVS.
func Unreachable(reason string) *Error {
	return bad("Can't initialize ipvs: %s\n"+
		"Are you sure that IP Virtual Server is built in the kernel or as module?", reason)
}
