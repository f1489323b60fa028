"""Files of RELION, CTFFIND and Warp with the CTF of micrographs."""

CTFFIND = """\
# Output from CTFFind version 4.1.14, run on 2025-12-28 18:56:33
# Input file: Movies/XXX.mrc ; Number of micrographs: 1
# Pixel size: 1.400 Angstroms ; acceleration voltage: 200.0 keV ; spherical aberration: 1.40 mm \
; amplitude contrast: 0.10
# Box size: 512 pixels ; min. res.: 30.0 Angstroms ; max. res.: 5.0 Angstroms
# Columns: #1 - micrograph number; #2 - defocus 1 [Angstroms]; #3 - defocus 2; #4 - azimuth of \
astigmatism; #5 - additional phase shift [radians]; #6 - cross correlation; #7 - spacing
1.000000 10864.138672 10575.676758 78.283111 0.523599 0.131144 inf
"""
OPTICS = """
# version 30001

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMicrographOriginalPixelSize #3
_rlnVoltage #4
_rlnSphericalAberration #5
_rlnAmplitudeContrast #6
_rlnMicrographPixelSize #7
opticsGroup1            1     0.885000   200.000000     1.400000     0.100000     0.885000
opticsGroup2            2     0.885000   300.000000     2.700000     0.070000     0.885000
"""
MICROGRAPHS = """
# version 30001

data_micrographs

loop_
_rlnMicrographName #1
_rlnOpticsGroup #2
_rlnCtfImage #3
_rlnDefocusU #4
_rlnDefocusV #5
_rlnCtfAstigmatism #6
_rlnDefocusAngle #7
_rlnCtfFigureOfMerit #8
_rlnCtfMaxResolution #9
MotionCorr/job002/A/mic_1.mrc  1 CtfFind/job003/A/mic_1_PS.ctf 10863.5 10575.7 287.8 77.9 0.1 4.8
MotionCorr/job002/A/mic_2.mrc  2 CtfFind/job003/A/mic_2_PS.ctf  9836.5  9586.7 249.8 70.2 0.2 3.6
MotionCorr/job002/B/mic_2.mrc  2 CtfFind/job003/B/mic_2_PS.ctf 20000.0 19000.0 999.9 10.0 0.2 3.6
MotionCorr/job002/A/mic_3.mrc  1 CtfFind/job003/A/mic_3_PS.ctf nan nan nan nan nan nan

"""
WARP = """\
<?xml version="1.0" encoding="utf-16"?>
<Movie UnselectFilter="False" CTFResolutionEstimate="4.3" MeanFrameMovement="0.5">
  <CTF>
    <Param Name="Voltage" Value="300" />
    <Param Name="Cs" Value="2.7" />
    <Param Name="Amplitude" Value="0.07" />
    <Param Name="Defocus" Value="1.5" />
    <Param Name="DefocusDelta" Value="0.1" />
    <Param Name="DefocusAngle" Value="33" />
    <Param Name="PhaseShift" Value="0.25" />
  </CTF>
</Movie>
"""
