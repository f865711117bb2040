#!/bin/sh
# What coreos-install does in matchbox's own examples: the installed system asks by the same query, and os=installed.
set -e
wget -q -O - "{{.baseurl}}/disk.img" > /dev/vda
blockdev --rereadpt /dev/vda
mount -t vfat /dev/vda1 /mnt
wget -q -O /mnt/initrd.gz "{{.baseurl}}/live.cpio.gz"
cat > /mnt/syslinux.cfg <<END
DEFAULT installed
LABEL installed
KERNEL vmlinuz
INITRD initrd.gz
APPEND console=ttyS0 no_timer_check tsc=reliable panic=1 quiet from=disk cloud-config-url={{.cloud_endpoint}}?{{.request.raw_query}}&os=installed
END
umount /mnt
echo "NETBOOT-INSTALL: written"
reboot -f
