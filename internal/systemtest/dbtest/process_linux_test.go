package dbtest

import "syscall"

// dieWithParent has a server killed even if the test cannot do it, because it ran out of time.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
