package ipvsadm

import (
	"strings"
	"syscall"
	"testing"
)

func TestRefusalsHaveTheirSentences(t *testing.T) {
	for _, c := range []struct {
		op    Op
		errno syscall.Errno
		text  string
		code  int
	}{
		{OpAddService, syscall.EEXIST, "Service already exists", 255},
		{OpAddService, syscall.ENOENT, "Scheduler or persistence engine not found", 255},
		{OpEditService, syscall.ENOENT, "Scheduler or persistence engine not found", 255},
		{OpEditService, syscall.ESRCH, "No such service", 255},
		{OpDeleteService, syscall.ESRCH, "No such service", 255},
		{OpZero, syscall.ESRCH, "No such service", 255},
		{OpList, syscall.ESRCH, "No such service", 1},
		{OpAddServer, syscall.EEXIST, "Destination already exists", 255},
		{OpAddServer, syscall.ESRCH, "Service not defined", 255},
		{OpEditServer, syscall.ESRCH, "Service not defined", 255},
		{OpDeleteServer, syscall.ESRCH, "Service not defined", 255},
		{OpEditServer, syscall.ENOENT, "No such destination", 255},
		{OpDeleteServer, syscall.ENOENT, "No such destination", 255},
		{OpStartDaemon, syscall.EEXIST, "Daemon has already run", 255},
		{OpStopDaemon, syscall.ESRCH, "No daemon is running", 255},
		{OpFlush, syscall.EPERM, "Permission denied (you must be root)", 255},
		{OpSave, syscall.EPERM, "Permission denied (you must be root)", 1},
		{OpAddServer, syscall.EINVAL, "Invalid operation.  Possibly wrong module version, address not unicast, ...", 255},
		{OpSet, syscall.ENOPROTOOPT, "Protocol not available", 255},
		{OpSet, syscall.ENOMEM, "Memory allocation problem", 255},
		{OpSet, syscall.EOPNOTSUPP, "Operation not supported with IPv6", 255},
		{OpSet, syscall.EAFNOSUPPORT, "Operation not supported with specified address family", 255},
		{OpSet, syscall.EMSGSIZE, "Module is wrong version", 255},
		{OpAddServer, syscall.ERANGE, "Numerical result out of range", 255},
		{OpStartDaemon, syscall.ENODEV, "No such device", 255},
		{OpFlush, syscall.ESRCH, "No such process", 255},
		{OpFlush, 4000, "Unknown error 4000", 255},
	} {
		e := Refused(c.op, c.errno)
		if e.Text != c.text || e.ExitCode != c.code || e.Ends != (c.code == 1) || e.Hint {
			t.Errorf("%v, %d: %+v, want %q, exit %d", c.op, c.errno, *e, c.text, c.code)
		}
	}
	if e := Refused(OpFlush, 0); e != nil {
		t.Errorf("no refusal: %+v", e)
	}
}

func TestUnreachable(t *testing.T) {
	e := Unreachable("Protocol not available")
	if first, second, _ := strings.Cut(e.Text, "\n"); e.ExitCode != 2 || first != "Can't initialize ipvs: Protocol not available" ||
		second != "Are you sure that IP Virtual Server is built in the kernel or as module?" {
		t.Errorf("%+v", e)
	}
}
