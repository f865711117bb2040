The command line of Pixiecore's first version: -kernel, -initrd A,B, -cmdline, -listen-addr, -port-http. The script is the second version's.

== file vmlinuz
a kernel
== file initrd.0
one
== file initrd.1
two
== GET /_/ipxe?mac=01:02:03:04:05:06&arch=0
200 text/plain; charset=utf-8
#!ipxe
kernel --name kernel http://10.77.0.1:8080/_/file?name=<a kernel
>&type=kernel&mac=01%3A02%3A03%3A04%3A05%3A06
initrd --name initrd0 http://10.77.0.1:8080/_/file?name=<one
>&type=initrd&mac=01%3A02%3A03%3A04%3A05%3A06
initrd --name initrd1 http://10.77.0.1:8080/_/file?name=<two
>&type=initrd&mac=01%3A02%3A03%3A04%3A05%3A06
imgfetch --name ready http://10.77.0.1:8080/_/booting?mac=01%3A02%3A03%3A04%3A05%3A06 ||
imgfree ready ||
boot kernel initrd=initrd0 initrd=initrd1 console=ttyS0 quiet BOOTIF=01-01-02-03-04-05-06
