package dbtest

import "syscall"

// dieWithParent makes a server die with the test, even if the test ran out of time and cannot kill
// it.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
