Booddies: a menu for each machine, by the name that PXELINUX asks for; its own disk after ten seconds, unless somebody chooses; the
installation's kernel by TFTP, and the kickstart by HTTP. Who has no file of its own is told what the inventory says.

== file tftp/pxelinux.0
PXELINUX
== file tftp/pxelinux.cfg/01-00-16-3e-30-39-30
SERIAL 1 115200
DEFAULT menu.c32
TIMEOUT 100
ONTIMEOUT local

LABEL local
  LOCALBOOT 0

LABEL install
  IPAPPEND 2
  KERNEL images/centos/7/x86_64/vmlinuz
  APPEND initrd=images/centos/7/x86_64/initrd.img inst.repo=http://data01/centos/7/os/x86_64 inst.ks=http://data01/kickstart/kvm.ks inst.text console=ttyS1,115200n8 vlan=em1.101:em1
== file tftp/images/centos/7/x86_64/vmlinuz
a kernel
== file assets/kickstart/kvm.ks
network --device=bootif
== TFTP pxelinux.0
sent
PXELINUX
== TFTP pxelinux.cfg/01-00-16-3e-30-39-30
sent
SERIAL 1 115200
DEFAULT menu.c32
TIMEOUT 100
ONTIMEOUT local

LABEL local
  LOCALBOOT 0

LABEL install
  IPAPPEND 2
  KERNEL images/centos/7/x86_64/vmlinuz
  APPEND initrd=images/centos/7/x86_64/initrd.img inst.repo=http://data01/centos/7/os/x86_64 inst.ks=http://data01/kickstart/kvm.ks inst.text console=ttyS1,115200n8 vlan=em1.101:em1
== TFTP images/centos/7/x86_64/vmlinuz
sent
a kernel
== TFTP images/centos/7/x86_64/initrd.img
not there
== GET /assets/kickstart/kvm.ks
200 application/octet-stream
network --device=bootif
== TFTP pxelinux.cfg/01-00-16-3e-30-39-31
sent
DEFAULT local
PROMPT 0
LABEL local
  LOCALBOOT 0
