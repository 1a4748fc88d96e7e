#!/usr/bin/perl

# The units are no more exposed than docs/security.md says, by systemd's own
# measure; and nginx lives with the capabilities that its drop-in leaves it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use File::Copy qw(copy);
use File::Path qw(make_path);
use File::Temp ();
use Test::More;

use CardxTest;

my $units = "$CardxTest::ROOT/conf/systemd";
my $base = '/lib/systemd/system/nginx.service';

plan skip_all => 'no systemd-analyze'
    if CardxTest::capture('systemd-analyze', '--version') !~ /^systemd (\d+)/
    || $1 < 250;

my %said;
open my $doc, '<', "$CardxTest::ROOT/docs/security.md" or die $!;
while (<$doc>) {
    $said{$1} = $2 if /^\| (\w+\.service) \| ([\d.]+) \|$/;
}
is(join(' ', sort keys %said), 'cardxd.service nginx.service',
    'the document tells both');

my $root = File::Temp->newdir('cx.XXXX', DIR => '/tmp');
my $system = "$root/etc/systemd/system";
make_path("$system/nginx.service.d");
copy("$units/cardxd.service", $system) or die $!;
copy("$units/nginx.service.d/cardx.conf", "$system/nginx.service.d") or die $!;
copy($base, $system) if -f $base;

for my $unit (sort keys %said) {
  SKIP: {
        skip "no $unit", 2 if !-f "$system/$unit";
        my $output = CardxTest::capture('systemd-analyze', 'security',
            '--offline=yes', "--root=$root", '--no-pager', $unit);
        my ($figure) = $output =~ /exposure level for \Q$unit\E: ([\d.]+)/;
        ok(defined $figure, "$unit: a figure") or diag $output;
        cmp_ok($figure // 10, '<=', $said{$unit}, "$unit: not worse");
    }
}

# --- nginx with these rights -----------------------------------------------

SKIP: {
    skip 'not root', 3 if $> != 0;
    open my $in, '<', "$units/nginx.service.d/cardx.conf" or die $!;
    my @left = map { lc =~ /cap_(\w+)/g } grep { /^CapabilityBoundingSet=/ } <$in>;
    is(scalar @left, 6, 'six are left');
    my $t = CardxTest->new->start;
    my $nginx = readlink '/proc/' . $t->pid('nginx') . '/exe';
    $t->signal('nginx', 'QUIT');
    $t->wait_for(sub { !$t->alive('nginx') }, 20);
    my @run = ('setpriv', '--no-new-privs',
        '--bounding-set=-all,' . join(',', map { "+$_" } @left), $nginx,
        '-e', "$t->{var}/log/nginx-error.log",
        '-c', "$t->{var}/conf/nginx.conf");
    local $ENV{LSAN_OPTIONS} = 'print_suppressions=0';
    my $output = CardxTest::capture(@run);
    is($output, '', 'nginx starts');
    is($t->get('/v1/me')->{status}, 401, 'and answers');
    my $old = $t->pid('nginx');
    $t->signal('nginx', 'HUP');
    ok($t->wait_for(sub { $t->get('/v1/me')->{status} == 401 }, 20),
        'and is loaded anew');
    $t->finish;
}

done_testing;
