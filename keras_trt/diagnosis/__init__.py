"""What is installed on this machine, and what would run bundles here."""

from keras_trt.diagnosis.doctor import doctor as doctor
from keras_trt.diagnosis.doctor_report import DoctorReport as DoctorReport
from keras_trt.diagnosis.doctor_report import Installed as Installed
from keras_trt.diagnosis.doctor_report import Tried as Tried
